//! Text from strangers, on a terminal and as JSON.

use core::fmt::Write;

/// The text with control characters spelled out, those that turn the direction of writing too: what is shown
/// can neither
/// drive a terminal nor pass for something else.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// A JSON object of fields whose values are JSON already.
pub fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON list of values that are JSON already.
pub fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_drive_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c"), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(shown("Zoë 🐚"), "Zoë 🐚");
    }

    #[test]
    fn json_is_read_back() {
        for text in ["", "a\"b\\c\nd", "\u{1}\u{7f}", "Zoë"] {
            let value: serde_json::Value = serde_json::from_str(&quoted(text)).expect("JSON");
            assert_eq!(value, text);
        }
        let object: serde_json::Value =
            serde_json::from_str(&object(&[("a", list(["1".to_owned(), quoted("x")]))])).expect("JSON");
        assert_eq!(object, serde_json::json!({ "a": [1, "x"] }));
    }
}
