//! Does a part of what comes before a start, so often, for `cargo xtask instructions` to count:
//! `instructions plan|launch|lower BINDS TIMES`. With `start` it begins a start and no more is
//! asked of it, because the counter cannot follow the child.
//!
//! Everything before the part is done once, so two different TIMES tell what the part takes.

use std::hint::black_box;

use sandboxlib::spawn::{Prepared, Run};

#[path = "../benches/typical/mod.rs"]
mod typical;

use typical::{Result, Typical};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [part, binds, times] = args.as_slice() else {
        return Err("usage: instructions plan|launch|lower|start BINDS TIMES".into());
    };
    let typical = Typical::new(binds.parse()?)?;
    let plan = typical.plan()?;
    let launch = typical.launch(plan.clone())?;
    for _ in 0..times.parse::<u64>()? {
        match part.as_str() {
            "plan" => drop(black_box(typical.plan()?)),
            "launch" => drop(black_box(typical.launch(plan.clone())?)),
            "lower" => drop(black_box(Prepared::new(&launch)?)),
            "start" => {
                let prepared = Prepared::new(&launch)?;
                drop(black_box(prepared.start(&Run::new("/bin/true"))));
            }
            other => return Err(format!("no part {other:?}").into()),
        }
    }
    Ok(())
}
