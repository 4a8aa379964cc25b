//! Container images on one machine: content store, layers, overlay.
