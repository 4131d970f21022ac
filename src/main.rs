//! baistack
fn main() -> std::process::ExitCode {
    baistack::run()
}
