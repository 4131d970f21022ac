//! Other tools' files → the tree of a stack file, so that all later phases see one form.

pub mod procfile;
