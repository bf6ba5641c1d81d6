//! Runs the example that drives nodes without a runtime.

#[path = "../examples/std_loop.rs"]
mod example;

#[test]
fn two_nodes_talk_over_std_sockets() {
    example::main().expect("the example succeeds");
}
