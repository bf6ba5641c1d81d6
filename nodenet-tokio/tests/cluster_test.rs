//! Runs the example that tests a cluster of an application.

#[path = "../examples/cluster_test.rs"]
mod example;

#[test]
fn a_board_comes_together_after_a_cut() {
    example::main().expect("the example succeeds");
}
