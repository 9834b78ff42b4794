//! The texts by which a document is found, as written and without accents: `Taquería` is found as `taqueria`, too.
//!
//! Elasticsearch could fold accents itself (`asciifolding`), but only a distribution with the module `analysis-common` does.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Letters that are not a base letter with marks.
const LETTERS: [(char, &str); 14] = [
    ('ß', "ss"),
    ('ẞ', "SS"),
    ('æ', "ae"),
    ('Æ', "AE"),
    ('œ', "oe"),
    ('Œ', "OE"),
    ('ø', "o"),
    ('Ø', "O"),
    ('ł', "l"),
    ('Ł', "L"),
    ('đ', "d"),
    ('Đ', "D"),
    ('ð', "d"),
    ('ı', "i"),
];

/// Characters of a text that are searched, at most. A query has fewer.
const TEXT_MAX: usize = 1_000;
/// Bytes of all texts of a document, at most, so that a large row does not become a document of twice its size.
const TEXTS_BYTES_MAX: usize = 32 << 10;

/// The texts of these columns, each once, followed by its spelling without accents where that differs. `lines.name` are the names
/// in the objects of the list `lines`. Of a long text the beginning, and of many the first ones.
pub fn spellings(row: &Map<String, Value>, columns: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    for column in columns {
        let mut path = column.split('.');
        let value = path.next().and_then(|name| row.get(name));
        value.into_iter().for_each(|value| collect(value, path.clone(), &mut texts));
    }
    let (mut known, mut room) = (BTreeSet::new(), TEXTS_BYTES_MAX);
    let both = texts.into_iter().map(beginning).flat_map(|text| [text.to_owned(), folded(text)]);
    let fits = |text: &String| {
        let left = room.checked_sub(text.len());
        room = left.unwrap_or_default();
        left.is_some()
    };
    both.filter(|text| known.insert(text.clone())).take_while(fits).collect()
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(TEXT_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// Every text at a path within a value, through lists.
fn collect<'v>(value: &'v Value, path: std::str::Split<'_, char>, texts: &mut Vec<&'v str>) {
    let mut deeper = path.clone();
    match (value, deeper.next()) {
        (Value::String(text), None) => texts.push(text),
        (Value::Array(items), _) => items.iter().for_each(|item| collect(item, path.clone(), texts)),
        (Value::Object(fields), Some(name)) => {
            fields.get(name).into_iter().for_each(|value| collect(value, deeper.clone(), texts));
        }
        _ => {}
    }
}

/// A text without accents and ligatures.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut folded = String::with_capacity(text.len());
    for letter in text.nfkd().filter(|letter| !is_combining_mark(*letter)) {
        match LETTERS.iter().find(|(known, _)| *known == letter) {
            Some((_, plain)) => folded.push_str(plain),
            None => folded.push(letter),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(row: Value, columns: &[&str]) -> Vec<String> {
        spellings(row.as_object().expect("an object"), columns)
    }

    #[test]
    fn a_text_is_found_with_and_without_its_accents() {
        let row = json!({"name": "Antonio Moreno Taquería", "city": "México D.F.", "phone": "é"});
        let found = ["Antonio Moreno Taquería", "Antonio Moreno Taqueria", "México D.F.", "Mexico D.F."];
        assert_eq!(of(row, &["name", "city"]), found);
    }

    #[test]
    fn a_text_that_is_the_same_without_accents_is_there_once() {
        let row = json!({"name": "Chai", "category": "Chai", "tags": ["a", "b", "a"], "country": null});
        assert_eq!(of(row, &["name", "category", "tags", "country", "absent"]), ["Chai", "a", "b"]);
    }

    #[test]
    fn a_large_row_has_few_texts() {
        let long = "é".repeat(TEXT_MAX + 1);
        let found = of(json!({"name": long, "city": "x".repeat(900_000)}), &["name", "city"]);
        let characters: Vec<usize> = found.iter().map(|text| text.chars().count()).collect();
        assert_eq!(characters, [TEXT_MAX, TEXT_MAX, TEXT_MAX]);
        let tags: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let found = of(json!({"tags": tags}), &["tags"]);
        assert!((1_000..10_000).contains(&found.len()), "{}", found.len());
        assert!(found.iter().map(String::len).sum::<usize>() <= TEXTS_BYTES_MAX);
    }

    #[test]
    fn texts_within_lists_are_found() {
        let row = json!({"lines": [{"name": "Gnocchi", "n": 1}, {"name": "Pâté"}, {}]});
        assert_eq!(of(row, &["lines.name", "lines.n", "lines"]), ["Gnocchi", "Pâté", "Pate"]);
    }

    #[test]
    fn ligatures_and_letters_without_a_base_are_spelt_as_people_type_them() {
        for (text, plain) in [
            ("Straße", "Strasse"),
            ("Smørrebrød", "Smorrebrod"),
            ("Œuvre, Æbler", "OEuvre, AEbler"),
            ("Łódź", "Lodz"),
            ("Ångström", "Angstrom"),
            ("ﬁn", "fin"),
            ("東京", "東京"),
        ] {
            assert_eq!(folded(text), plain);
        }
    }
}
