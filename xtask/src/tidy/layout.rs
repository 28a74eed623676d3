//! What lies where: the top level, and what each package brings.

use std::fs;
use std::path::Path;

use super::{Fault, Package};
use crate::Result;

/// What may lie at the top besides dotfiles. `target` is cargo's and ignored by git.
const TOP: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "crates",
    "deny.toml",
    "docs",
    "target",
    "tests",
    "xtask",
];

/// What opens a README: who should depend on the crate. A program says what it is for.
const DEPEND: &str = "epend on this crate";
const PROGRAM: &str = "For";

pub(super) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Fault>> {
    let mut faults = top_level(root)?;
    faults.extend(license(root));
    for package in packages {
        if !package.has_license {
            faults.push(Fault::new(
                &package.name,
                "has no license in its Cargo.toml",
            ));
        }
        if package.dir.starts_with(root.join("crates")) {
            faults.extend(readme(package));
        }
    }
    Ok(faults)
}

fn top_level(root: &Path) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !TOP.contains(&name.as_ref()) {
            faults.push(Fault::new(name, "has no place at the top level"));
        }
    }
    Ok(faults)
}

fn license(root: &Path) -> Option<Fault> {
    let text = fs::read_to_string(root.join("LICENSE")).unwrap_or_default();
    let complete = [
        "MIT License",
        "Apache License",
        "END OF TERMS AND CONDITIONS",
    ]
    .iter()
    .all(|part| text.contains(part));
    (!complete).then(|| Fault::new("LICENSE", "does not hold both licence texts"))
}

fn readme(package: &Package) -> Option<Fault> {
    let path = package.dir.join("README.md");
    let Ok(text) = fs::read_to_string(&path) else {
        return Some(Fault::new(&package.name, "has no README.md"));
    };
    let program = package.roots.iter().all(|r| r.ends_with("src/main.rs"));
    let first = first_paragraph(&text);
    let says = first.contains(DEPEND) || (program && first.contains(PROGRAM));
    (!says).then(|| {
        let what = "the first paragraph does not say who should depend on this crate";
        Fault::new(path.display(), what)
    })
}

/// The first paragraph that is no heading.
fn first_paragraph(text: &str) -> String {
    text.lines()
        .skip_while(|line| line.is_empty() || line.starts_with('#'))
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &Path, readme: &str, root: &str) -> Package {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("README.md"), readme).unwrap();
        Package {
            name: "p".into(),
            dir: dir.to_owned(),
            dependencies: vec![],
            dev_dependencies: vec![],
            roots: vec![dir.join(root)],
            has_license: true,
        }
    }

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let text = "MIT License ... Apache License ... END OF TERMS AND CONDITIONS";
        fs::write(tree.path().join("LICENSE"), text).unwrap();
        tree
    }

    const GOOD: &str = "# p\n\nDepend on this crate if you must.\n\nMore.\n";
    const LATE: &str = "# p\n\nIt is nice.\n\nDepend on this crate if you must.\n";

    #[test]
    fn a_good_tree_passes() {
        let tree = tree();
        let library = package(&tree.path().join("crates/p"), GOOD, "src/lib.rs");
        let tool = package(
            &tree.path().join("crates/t"),
            "# t\n\nFor people.\n",
            "src/main.rs",
        );
        fs::write(tree.path().join(".gitignore"), "").unwrap();
        assert_eq!(check(tree.path(), &[library, tool]).unwrap(), []);
    }

    #[test]
    fn each_violation_is_found() {
        let tree = tree();
        let dir = tree.path().join("crates/p");
        let count = |package| check(tree.path(), &[package]).unwrap().len();
        assert_eq!(count(package(&dir, LATE, "src/lib.rs")), 1);
        assert_eq!(count(package(&dir, "# p\n", "src/lib.rs")), 1);
        assert_eq!(
            count(package(&dir, "# p\n\nFor people.\n", "src/lib.rs")),
            1
        );
        assert_eq!(
            count(Package {
                has_license: false,
                ..package(&dir, GOOD, "src/lib.rs")
            }),
            1
        );
        let bare = package(&dir, GOOD, "src/lib.rs");
        fs::remove_file(dir.join("README.md")).unwrap();
        assert_eq!(count(bare), 1);
    }

    #[test]
    fn strangers_at_the_top_and_half_a_licence_are_found() {
        let tree = tree();
        fs::write(tree.path().join("notes.txt"), "").unwrap();
        fs::write(tree.path().join("LICENSE"), "MIT License").unwrap();
        assert_eq!(check(tree.path(), &[]).unwrap().len(), 2);
    }
}
