//! Container images on one machine: content store, layers, overlay.

pub mod archive;
pub mod digest;
pub mod error;
pub mod unpack;
