//! Container images on one machine: content store, layers, overlay.
//!
//! [`load`] brings images into the [`store`] (verified by [`manifest`] and [`digest`], read by [`archive`], written by
//! [`unpack`]); a [`container`] is made from an [`image`].

pub mod accounts;
pub mod archive;
pub mod container;
pub mod digest;
pub mod error;
pub mod hello;
pub mod image;
pub mod load;
pub mod manifest;
pub mod overlay;
pub mod reference;
pub mod resolve;
pub mod rootless;
pub mod store;
pub mod unpack;
