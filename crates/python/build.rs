//! Tells the linker, where it has to be told, that the interpreter brings the symbols.
#![forbid(unsafe_code)]

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
