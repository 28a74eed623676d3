//! How long a prepared sandbox takes to run a command: `latency HEAP ROOT COUNT COMMAND [ARG...]`
//! fills HEAP MiB of memory, so that they are resident, and prints the median and the 90th
//! percentile of the wall time, in microseconds.

use std::path::PathBuf;
use std::time::Instant;

use sandboxlib::{Root, Sandbox};

#[allow(clippy::print_stdout, reason = "what it is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: latency HEAP ROOT COUNT COMMAND [ARG...]";
    let heap: usize = args
        .next()
        .and_then(|n| n.to_str()?.parse().ok())
        .ok_or(usage)?;
    let heap = vec![1u8; heap << 20];
    let root = PathBuf::from(args.next().ok_or(usage)?);
    let count: usize = args
        .next()
        .and_then(|n| n.to_str()?.parse().ok())
        .ok_or(usage)?;
    let command = args.next().ok_or(usage)?;
    let rest: Vec<_> = args.collect();
    let root = if root.parent().is_none() {
        Root::Host
    } else {
        Root::Dir(root)
    };
    let prepared = Sandbox::new(root).read_only().usual_mounts().prepare()?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let began = Instant::now();
        let outcome = prepared.command(&command).args(&rest).status()?;
        times.push(began.elapsed().as_micros());
        if !outcome.success() {
            return Err(format!("the command ended with {:?}", outcome.end).into());
        }
    }
    std::hint::black_box(&heap);
    times.sort_unstable();
    println!(
        "median {} us, p90 {} us",
        times[times.len() / 2],
        times[times.len() * 9 / 10]
    );
    Ok(())
}
