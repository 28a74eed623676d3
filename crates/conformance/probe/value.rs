//! What is told: one line for each question.

use core::fmt::{self, Write as _};

use crate::sys::{self, Errno};

/// The bytes of an answer. What does not fit is left out.
pub(crate) struct Value {
    bytes: [u8; Value::SIZE],
    len: usize,
}

impl Value {
    const SIZE: usize = 16384;

    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; Self::SIZE],
            len: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    /// A separator, unless this is the beginning.
    pub(crate) fn separate(&mut self, by: u8) {
        if self.len > 0 {
            self.push(&[by]);
        }
    }

    /// Prints it as a line.
    pub(crate) fn tell(&self) {
        let mut line = Line::new();
        let _ = line.write_str("ok ");
        for byte in self.bytes.get(..self.len).unwrap_or_default() {
            let plain = (0x20..0x7f).contains(byte) && *byte != b'\\';
            if plain {
                line.byte(*byte);
            } else {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
        line.end();
    }
}

impl fmt::Write for Value {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

pub(crate) fn tell_errno(errno: Errno) {
    let mut line = Line::new();
    let _ = write!(line, "no {errno}");
    line.end();
}

/// A line on its way to the standard output.
struct Line {
    bytes: [u8; 1024],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; 1024],
            len: 0,
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.len == self.bytes.len() {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn end(mut self) {
        self.byte(b'\n');
        self.flush();
    }

    fn flush(&mut self) {
        let mut rest = self.bytes.get(..self.len).unwrap_or_default();
        while let Ok(written @ 1..) = sys::write(1, rest) {
            rest = rest.get(written..).unwrap_or_default();
        }
        self.len = 0;
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.byte(byte));
        Ok(())
    }
}
