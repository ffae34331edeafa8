//! Who is logged in, and how do they prove it?

pub mod password;
pub(crate) mod session;
