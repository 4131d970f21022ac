//! The documented exit codes of every command.

/// How a command ended, in the terms of the manual (README, "Exit codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Success,
    /// 1: a service failed or did not get ready.
    Failure,
    /// 2: wrong usage.
    Usage,
    /// 3: the stack file has errors.
    StackFile,
    /// 4: an engine is not to be reached.
    Engine,
    /// 5: no such environment, or not running, for a command that needs one.
    NoEnvironment,
    /// 10: `plan` found changes.
    Changes,
    /// 130: interrupted by Ctrl-C.
    Interrupted,
    /// 143: ended by TERM (or HUP).
    Terminated,
    /// The code of the command that was run inside a service.
    Passed(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::StackFile => 3,
            Exit::Engine => 4,
            Exit::NoEnvironment => 5,
            Exit::Changes => 10,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Passed(code) => code,
        }
    }
}
