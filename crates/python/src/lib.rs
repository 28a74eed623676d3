//! The native half of the Python package `sandboxlib`: the module `sandboxlib._native`.
//!
//! It turns plain data into a sandbox and back: bytes, numbers and lists come in, numbers, bytes
//! and dictionaries go out. Everything that Python programmers see, names, defaults, exceptions
//! and file objects, is made of that in Python, in `python/sandboxlib`.
#![forbid(unsafe_code)]

mod child;
mod description;
mod failure;
mod image;
mod report;

use pyo3::prelude::*;

/// `sandboxlib._native`.
#[pymodule]
#[pyo3(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::child::{Child, Prepared, prepare};
    #[pymodule_export]
    use crate::image::unpack;
}
