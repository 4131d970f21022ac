//! The memory that the code of this program takes.

/// Does nothing: pages of a program's file are nobody's own there, and not counted as such (`phys_footprint` of footprint(1)).
pub fn give_back() {}
