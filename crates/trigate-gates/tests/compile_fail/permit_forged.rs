//! A permit made up.
use trigate_gates::Permit;

fn main() {
    let _forged = Permit(Default::default());
}
