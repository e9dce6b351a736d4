//! How the binary is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A process is started from this binary for every command that a task runs. Linked to fixed
    // addresses it starts in 1 ms; otherwise the loader would first adjust 270,000 pointers, which
    // takes 3 ms and 5 MB of memory each time. Stack, heap and shared libraries lie at random
    // addresses as ever.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
