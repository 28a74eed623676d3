# A crate with a build script, a library, a program, and tests of all kinds; no network.
set -e
export PATH=/opt/rust/bin:$PATH CARGO_HOME=/w/home
cargo new --quiet --vcs none --lib krate
cd krate
mkdir tests
cat >src/lib.rs <<'R'
//! ```
//! assert_eq!(krate::sum(4), 10);
//! ```
pub fn sum(n: u64) -> u64 {
    let parts = (1..=n).map(|i| std::thread::spawn(move || i));
    parts.collect::<Vec<_>>().into_iter().map(|p| p.join().unwrap()).sum()
}
#[test]
fn a_unit() {
    assert_eq!(sum(3), 6);
}
R
cat >src/main.rs <<'R'
fn main() {
    println!("{} {}", env!("MADE_BY"), krate::sum(10));
}
R
cat >build.rs <<'R'
fn main() {
    println!("cargo::rustc-env=MADE_BY=script");
}
R
cat >tests/whole.rs <<'R'
#[test]
fn the_program_runs() {
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_krate")).output().unwrap();
    assert_eq!(out.stdout, b"script 55\n");
}
R
cargo build --quiet --offline
./target/debug/krate
cargo test --offline 2>&1 | grep -E '^test '
