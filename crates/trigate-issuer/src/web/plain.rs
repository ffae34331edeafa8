//! How is text that others wrote shown to a person? So that it can pretend nothing: no control characters, no
//! characters that turn the direction of writing, bounded in length. (Markup is escaped by the templates.)

/// Longer names push what matters out of sight.
const MAX_CHARS: usize = 60;

/// `name` as it may stand on a page.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name.chars().map(|c| if is_deceptive(c) { '\u{fffd}' } else { c }).take(MAX_CHARS).collect();
    if name.chars().count() > MAX_CHARS {
        text.push('…');
    }
    text
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_is_made_visible() {
        assert_eq!(shown("Acme \u{202e}knaB"), "Acme \u{fffd}knaB");
        assert_eq!(shown("a\nb\u{200b}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(shown("Ünï → 東京"), "Ünï → 東京");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), MAX_CHARS + 1);
    }
}
