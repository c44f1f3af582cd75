//! What people type and what the calls of the registry and the auction carry: commands, names, keys, addresses.

use seckel::app::auction::{self, when};
use seckel::app::registry::command;
use seckel::app::registry::rules::{self, Answer, check_name};
use seckel::app::text::shown;
use seckel::base::{Addr, hex};

pub fn run(input: &[u8], _: bool) -> String {
    let text = String::from_utf8_lossy(input);
    let _ = command::parse(&text);
    let safe = shown(&text);
    assert!(!safe.chars().any(char::is_control));
    assert_eq!(shown(&safe), safe);

    // What is asked for is what is read, if it may be a name at all.
    assert_eq!(rules::read_request(&rules::request(&text)).is_ok(), check_name(&text).is_ok());
    if let Ok(name) = rules::read_request(input) {
        assert_eq!(check_name(&name), Ok(()));
        assert_eq!(rules::read_request(&rules::request(&name)), Ok(name));
    }
    if let Some(answer) = rules::read_answer(input) {
        let understood = Answer::from_text(&answer);
        let again = rules::read_answer(&understood.value()).map(|text| Answer::from_text(&text));
        assert!(again.is_none_or(|again| again == understood));
    }

    let _ = auction::command::parse(&text);
    if let Some(amount) = auction::rules::amount(&text) {
        assert_eq!(amount.to_string(), text);
    }
    if let Some(when::Ends::At(millis)) = when::parse(&text) {
        assert_eq!(when::parse(&when::shown(millis)), Some(when::Ends::At(millis)));
    }
    for method in ["create", "bid", "close"] {
        super::auction::of_call(method, input);
    }

    if let Some(bytes) = hex::decode(&text) {
        assert_eq!(hex::encode(&bytes), text.to_ascii_lowercase());
    }
    if let Some(key) = hex::key_from_text(&text) {
        assert_eq!(hex::key_from_text(&hex::key_to_z32(&key)), Some(key));
    }
    if let Ok(addr) = text.parse::<Addr>() {
        assert_eq!(addr.to_string().parse(), Ok(addr));
    }
    String::new()
}
