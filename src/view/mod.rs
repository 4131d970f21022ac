//! Values → text for people. No decisions: what is shown, and whether in colour, is told by the caller.

pub mod diagnostics;
