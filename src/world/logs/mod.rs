//! The logs of native processes: written by [`pump`] into files that [`mod@file`] rotates, in the format of [`record`]; read and
//! followed by [`tail`], many at once by [`merge`].
//!
//! The file is the buffer: a reader never slows a writer, and needs no supervisor. Colours and cursor movement are kept as
//! they came; what becomes of them is the view's business.

pub mod file;
mod frame;
pub mod line;
pub mod merge;
pub mod pump;
pub mod record;
pub mod tail;
