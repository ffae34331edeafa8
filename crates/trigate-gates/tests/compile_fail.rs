//! No gate can be skipped and no permit forged: such code does not compile.

#[test]
fn a_gate_skipped_or_a_permit_forged_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
