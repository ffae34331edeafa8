//! What must not compile: a change of state without its act, a tenant crossed.

#[test]
fn walls_hold_at_compile_time() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
