//! Unpacks an image, of whatever format, into a directory, and says what there is to know:
//! `cargo run -p sandboxlib-image --example unpack -- IMAGE DIRECTORY`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::error::Error;
use std::process::ExitCode;

use sandboxlib_image::{Image, UnpackOptions};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [image, directory] = &arguments[..] else {
        eprintln!("usage: unpack IMAGE DIRECTORY");
        return ExitCode::from(2);
    };
    match unpack(image.as_ref(), directory.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unpack: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  {error}");
                source = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn unpack(
    image: &std::path::Path,
    directory: &std::path::Path,
) -> Result<(), sandboxlib_image::Error> {
    let image = Image::open(image)?;
    let report = image.unpack_to(directory, &UnpackOptions::default())?;
    println!("{:?}: {} entries", image.format(), report.entries);
    if !report.owners_kept {
        println!("{} belong to others than root", report.owners.len());
    }
    for left in &report.left_out {
        println!("left out: {}: {}", left.path.display(), left.what);
    }
    for unsupported in &image.config().unsupported {
        println!("{} {}", unsupported.what, unsupported.consequence);
    }
    let process = image.config().process(directory, None, Some(&report))?;
    println!("{:?} as {}:{}", process.args, process.uid, process.gid);
    Ok(())
}
