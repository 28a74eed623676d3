#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod case;
mod cases;
mod fault;
mod run;
mod stage;
mod test;
mod world;

pub use case::Case;
pub use cases::cases;
pub use fault::{Fault, What};
pub use run::{Verdict, run};

#[doc(hidden)]
pub use test::check;

/// Makes one test of each case, for the backend that the expression gives.
///
/// The tests of two backends go into two modules.
#[macro_export]
macro_rules! conformance {
    ($backend:expr $(,)?) => {
        $crate::__each_case! { ($crate::__tests) [$backend] }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ([$backend:expr] $($name:ident)*) => {$(
        #[test]
        fn $name() {
            $crate::check(&$backend, stringify!($name));
        }
    )*};
}
