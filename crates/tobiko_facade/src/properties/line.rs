//! Any message fits on a line, and any text into its room.

use proptest::prelude::*;
use serde_json::Value;

use crate::report::line::{ROOM, fit, fitting, written};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\\PC{0,12}",
        1 => ("[ä🍣\"\\\\\u{1}x\n ]{1,5}", 1_usize..4_000).prop_map(|(text, times)| text.repeat(times)),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        3 => text().prop_map(Value::from),
        1 => (any::<u32>(), 0_usize..5_000).prop_map(|(number, times)| vec![number; times].into()),
        1 => (text(), 0_usize..200).prop_map(|(text, times)| vec![text.chars().take(100).collect::<String>(); times].into()),
    ];
    leaf.prop_recursive(4, 60, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_json_fits_on_a_line(message in json()) {
        let mut short = message.clone();
        fit(&mut short);
        let line = short.to_string();
        prop_assert_eq!(line.len(), written(&short));
        prop_assert!(line.len() <= ROOM, "{}", line.len());
        prop_assert!(!line.contains('\n'));
        if written(&message) <= ROOM {
            prop_assert_eq!(short, message);
        }
    }

    #[test]
    fn any_text_fits_into_its_room(text in text(), limit in 64_usize..20_000) {
        let short = fitting(&text, limit);
        prop_assert!(written(short.as_ref()) <= limit);
        if written(text.as_str()) <= limit && text.len() <= limit {
            prop_assert_eq!(short.as_ref(), text.as_str());
        }
    }
}
