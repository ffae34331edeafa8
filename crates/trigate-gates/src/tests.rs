//! The road as a whole: each credential in each state, and what status, challenge and record come of it.

mod attacks;
mod changes;
mod foreign;
mod introspection;
mod limits;
mod rig;
mod road;
mod sender;
