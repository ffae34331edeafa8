//! Where in the file does it stand? Finds the line of a field, so that every complaint names file and line.

use toml::de::{DeTable, DeValue};

/// The source with its spans.
pub struct Places<'i> {
    text: &'i str,
    tree: Option<DeTable<'i>>,
}

/// A step into the document: a table's key or an array's index.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'i> Places<'i> {
    pub fn of(text: &'i str) -> Self {
        Self { text, tree: DeTable::parse(text).ok().map(toml::Spanned::into_inner) }
    }

    /// The line (from 1) of the deepest part of `path` that exists.
    pub fn line(&self, path: &[Step<'_>]) -> usize {
        let mut line = 1;
        let Some(tree) = &self.tree else { return line };
        let mut table = Some(tree);
        let mut array = None;
        for step in path {
            let value = match step {
                Step::Key(name) => {
                    table.and_then(|t| t.iter().find(|(key, _)| key.get_ref().as_ref() == *name)).map(|(key, value)| {
                        // A table's key may stand in the header of its first element; its value knows better.
                        let at = if matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_))
                            && !key.span().is_empty()
                        {
                            key.span().start
                        } else {
                            value.span().start
                        };
                        (at, value)
                    })
                }
                Step::Index(index) => {
                    array.and_then(|a: &toml::de::DeArray<'i>| a.get(*index)).map(|value| (value.span().start, value))
                }
            };
            let Some((at, value)) = value else { break };
            line = self.line_at(at);
            table = value.get_ref().as_table();
            array = value.get_ref().as_array();
        }
        line
    }

    /// The line (from 1) of a byte offset.
    pub fn line_at(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_array_elements_are_found() {
        let text = "[server]\ngate = \"127.0.0.1:1\"\n\n[[route]]\npath = \"/a\"\n\n[[route]]\npath = \"/b\"\nscopes = [\"x\"]\n\n[plans]\nfree = \"x\"\n";
        let places = Places::of(text);
        assert_eq!(places.line(&[Step::Key("server"), Step::Key("gate")]), 2);
        assert_eq!(places.line(&[Step::Key("route"), Step::Index(0)]), 4);
        assert_eq!(places.line(&[Step::Key("route"), Step::Index(1)]), 7);
        assert_eq!(places.line(&[Step::Key("route"), Step::Index(1), Step::Key("path")]), 8);
        assert_eq!(places.line(&[Step::Key("plans"), Step::Key("free")]), 12);
        assert_eq!(places.line(&[Step::Key("plans"), Step::Key("none")]), 11);
    }
}
