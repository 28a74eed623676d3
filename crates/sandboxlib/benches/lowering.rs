//! How long it takes to lower a script, system call filter included:
//! `cargo bench -p sandboxlib`.

use divan::Bencher;
use sandboxlib::spawn::Prepared;

mod typical;

use typical::Typical;

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 10, 100, 1000])]
#[allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot do its work has nothing to say"
)]
fn binds(bencher: Bencher<'_, '_>, binds: usize) {
    let typical = Typical::new(binds).unwrap();
    let launch = typical.launch(typical.plan().unwrap()).unwrap();
    bencher.bench(|| Prepared::new(&launch).unwrap());
}
