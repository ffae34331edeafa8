use super::*;
use crate::port::testing::SeededRng;
use proptest::prelude::*;

#[test]
fn k02_any_changed_key_is_refused_by_its_checksum() {
    let key = ApiKey::mint(&SeededRng::new(7), Environment::Live);
    assert!(ApiKey::parse(key.reveal()).is_some());
    let text = key.reveal();
    let variants = [
        text.to_uppercase(),
        text[..text.len() - 1].to_owned(),
        format!("{text}a"),
        format!(" {text}"),
        format!("{text}\t"),
        format!("{text}\u{a0}"),
        format!("\"{text}\""),
        text.replacen("live", "test", 1),
    ];
    for variant in variants {
        assert!(ApiKey::parse(&variant).is_none(), "{variant}");
    }
}

#[test]
fn t30_an_opaque_token_cut_or_extended_is_refused_without_a_look_up() {
    let rng = SeededRng::new(3);
    let key = ChecksumKey::mint(&rng);
    let token = OpaqueToken::mint(&rng, &key);
    let text = token.reveal().to_owned();
    assert!(OpaqueToken::parse(&text, &key).is_some());
    for cut in 0..text.len() {
        assert!(OpaqueToken::parse(&text[..cut], &key).is_none());
    }
    assert!(OpaqueToken::parse(&format!("{text}0"), &key).is_none());
    assert!(OpaqueToken::parse(&text.to_uppercase(), &key).is_none());
    assert!(OpaqueToken::parse(&text, &ChecksumKey::mint(&rng)).is_none(), "another issuer's key");
}

#[test]
fn secrets_are_redacted_and_masked() {
    let rng = SeededRng::new(5);
    let key = ApiKey::mint(&rng, Environment::Test);
    let refresh = RefreshToken::mint(&rng);
    for shown in [format!("{key:?}"), format!("{refresh:?}"), mask_secrets(&format!("/x?api_key={}&b=1", key.reveal()))]
    {
        assert!(!shown.contains(key.reveal()) && !shown.contains(refresh.reveal()), "{shown}");
    }
    assert_eq!(mask_secrets("/a?k=tgk_live_abc&b=1"), "/a?k=tgk_[masked]&b=1");
    assert_eq!(mask_secrets("t=eyJhbGciOiJSUzI1NiJ9.e30.c2ln;"), "t=[masked token];");
}

proptest! {
    #[test]
    fn one_edited_character_never_makes_another_valid_key(position in 0usize..81, letter in "[0-9A-Za-z]") {
        let key = ApiKey::mint(&SeededRng::new(11), Environment::Live);
        let mut text: Vec<char> = key.reveal().chars().collect();
        let replacement = letter.chars().next().unwrap();
        prop_assume!(position < text.len() && text[position] != replacement);
        text[position] = replacement;
        let edited: String = text.into_iter().collect();
        prop_assert!(ApiKey::parse(&edited).is_none_or(|other| other.digest() != key.digest()));
    }

    #[test]
    fn masking_never_panics(text in ".*") {
        mask_secrets(&text);
    }
}
