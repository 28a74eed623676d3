set -e
git config --global user.email nobody@example.invalid
git config --global user.name nobody
git config --global init.defaultBranch main
git init -q one
cd one
for i in 1 2 3; do echo $i >file; git add file; git commit -q -m "commit $i"; done
git checkout -q -b side HEAD~1
echo side >other
git add other
git commit -q -m side
git checkout -q main
git merge -q --no-edit side
cd ..
git clone -q one two
git clone -q "file://$PWD/one" three
git -C two gc -q --aggressive
git -C two fsck --strict 2>&1 | grep -v -i '^checking' || true
echo "packs $(ls two/.git/objects/pack/*.pack | wc -l)"
echo "commits $(git -C three rev-list --count HEAD)"
git -C two worktree add -q ../four HEAD~1
echo "worktree $(cat four/file)"
echo new >three/file
git -C three commit -q -a -m new
git -C three push -q origin HEAD:pushed
git -C one show -s --format=%s pushed
git archive --remote=one HEAD | tar t | sort | tr '\n' ' '
