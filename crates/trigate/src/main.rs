//! The binary: everything is in the library.

/// A gate allocates and frees some dozens of small things for each request; glibc's takes twice as many instructions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    trigate::cli::main()
}
