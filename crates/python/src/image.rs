//! Container images.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use sandboxlib_image::{Image, UnpackOptions};

/// Unpacks the image at `path` into `directory`, which is made if it is missing.
///
/// # Errors
/// `OSError` or `ValueError`, as the library says.
#[pyfunction]
pub(crate) fn unpack(py: Python<'_>, path: PathBuf, directory: PathBuf) -> PyResult<()> {
    let done = py.detach(|| {
        let image = Image::open(&path)?;
        image.unpack_to(&directory, &UnpackOptions::default())
    });
    done.map(drop).map_err(|error| {
        let mut message = error.to_string();
        let mut errno = None;
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            message = format!("{message}: {inner}");
            let io = inner.downcast_ref::<std::io::Error>();
            errno = errno.or(io.and_then(std::io::Error::raw_os_error));
            source = inner.source();
        }
        match errno {
            Some(errno) => PyOSError::new_err((errno, message)),
            None => PyValueError::new_err(message),
        }
    })
}
