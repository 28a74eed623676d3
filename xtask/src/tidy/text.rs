//! Rust source as text: what is code, and what is comment or string.

/// The lines of `source` with the comments and the content of strings taken out.
///
/// Raw strings and nested block comments are known; a string that holds an unescaped quote in
/// any other way does not compile.
pub(super) fn code_lines(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![String::new()];
    let mut put = |c: char| match (c, lines.last_mut()) {
        ('\n', _) => lines.push(String::new()),
        (c, Some(line)) => line.push(c),
        (_, None) => {}
    };
    let at = |i: usize| chars.get(i).copied().unwrap_or('\n');
    let mut i = 0;
    while i < chars.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => find(&chars, i, |i| at(i) == '\n'),
            ('/', '*') => end_of_block_comment(&chars, i),
            ('"', _) => {
                put('"');
                end_of_string(&chars, i)
            }
            ('r', '"' | '#') if raw_string(&chars, i).is_some() => {
                put('"');
                raw_string(&chars, i).unwrap_or(i + 1)
            }
            // A quote as a character, which opens no string.
            ('\'', '"') if at(i + 2) == '\'' => i + 3,
            ('\'', '\\') => find(&chars, i + 3, |i| at(i) == '\'') + 1,
            (c, _) => {
                put(c);
                i += 1;
                continue;
            }
        };
        chars
            .iter()
            .take(end)
            .skip(i)
            .filter(|c| **c == '\n')
            .for_each(|c| put(*c));
        i = end;
    }
    lines
}

fn find(chars: &[char], from: usize, is: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| is(*i)).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < chars.len() {
        match chars.get(i..i + 2) {
            Some(['/', '*']) => (depth, i) = (depth + 1, i + 2),
            Some(['*', '/']) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while let Some(c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of the raw string that begins at `start`, if one does.
fn raw_string(chars: &[char], start: usize) -> Option<usize> {
    let part_of_a_word = start > 0 && is_word(*chars.get(start - 1)?) && chars[start - 1] != 'b';
    if part_of_a_word {
        return None;
    }
    let hashes = chars
        .iter()
        .skip(start + 1)
        .take_while(|c| **c == '#')
        .count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let close = |i: usize| {
        chars[i] == '"'
            && chars
                .iter()
                .skip(i + 1)
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    Some(
        (open + 1..chars.len())
            .find(|i| close(*i))
            .map_or(chars.len(), |i| i + 1 + hashes),
    )
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `word` stands in `line` as a word of its own.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let source = "a // unsafe\n/* unsafe\n /* unsafe */ unsafe */ b \"unsafe \\\" unsafe\" c\n\
                      r#\"unsafe \" unsafe\"# d '\"' e b\"unsafe\" f\n";
        let lines = code_lines(source);
        assert_eq!(
            lines.len(),
            source.matches('\n').count() + 1,
            "the lines keep their numbers"
        );
        assert!(
            lines.iter().all(|line| !line.contains("unsafe")),
            "{lines:?}"
        );
        for word in ["a", "b", "c", "d", "e", "f"] {
            assert!(
                lines.iter().any(|line| has_word(line, word)),
                "{word}: {lines:?}"
            );
        }
    }

    #[test]
    fn words_have_ends() {
        assert!(has_word("x = unsafe { f() }", "unsafe"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
    }
}
