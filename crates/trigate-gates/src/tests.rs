//! The road as a whole: each credential in each state, and what status, challenge and record come of it.

mod attacks;
mod changes;
mod foreign;
mod forwarded;
mod introspection;
mod limits;
mod policies;
mod refusals;
mod rig;
mod road;
mod sender;
mod tokens;
