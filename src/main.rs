//! The program: one command line, one exit code.

fn main() -> std::process::ExitCode {
    baistack::run()
}
