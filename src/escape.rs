//! Text from files, names and servers, made safe to print on a terminal.

/// Returns `text` as one line. Control characters, including line breaks, are escaped as in Rust's strings (`\n`,
/// `\u{1b}`), and so are characters that are invisible or change the order of the text around them.
pub fn one_line(text: &str) -> String {
    escape(text, |_| false)
}

/// Returns `text` with the same characters escaped, except line breaks.
pub fn lines(text: &str) -> String {
    escape(text, |c| c == '\n')
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_misleading(c) && !keep(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a terminal obeys the character, or shows nothing for it. Joiners (U+200C, U+200D) and variation selectors are
/// not listed, because emoji and some scripts need them.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{61c}' | '\u{200e}' | '\u{200f}' // marks of direction
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // embeddings, overrides and isolates
            | '\u{2028}' | '\u{2029}' // separators of lines and paragraphs
            | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misleading_characters_are_escaped() {
        for c in
            ['\0', '\r', '\t', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2067}', '\u{feff}', '\u{2028}']
        {
            assert_eq!(one_line(&format!("a{c}b")), format!("a{}b", c.escape_default()));
            assert_eq!(lines(&format!("a{c}b")), one_line(&format!("a{c}b")));
        }
        assert_eq!((one_line("a\nb").as_str(), lines("a\nb").as_str()), ("a\\nb", "a\nb"));
    }

    #[test]
    fn ordinary_names_are_not_changed() {
        for name in ["img.png", "C:\\a\\b", "Größe, мост", "❤️ 👩‍🚀", "نمی‌دانم", "½ × √3 → −1"]
        {
            assert_eq!(one_line(name), name);
        }
    }
}
