//! Any text is a name.

use proptest::prelude::*;

use super::odd;
use super::sound::{check_check_name, check_op_name};
use crate::manifest::names::{check_name, distinct, key_parts, op_name, with_suffix};

proptest! {
    #[test]
    fn a_name_always_has_parts_and_an_op(name in odd::name()) {
        let parts = key_parts(&name);
        prop_assert!(!parts.is_empty() && parts.iter().all(|part| !part.is_empty()), "{parts:?}");
        check_op_name(&op_name(&parts, &name));
    }

    #[test]
    fn what_is_quoted_is_kept(parts in odd::parts()) {
        let name = parts.iter().map(|part| odd::quoted(part)).collect::<Vec<_>>().join(".");
        prop_assert_eq!(key_parts(&name), parts);
    }

    #[test]
    fn an_audit_always_has_a_check(audit in odd::audit()) {
        check_check_name(&check_name(&audit));
    }

    #[test]
    fn distinct_names_differ_and_do_not_depend_on_the_order(
        names in prop::collection::vec("[ab]{0,2}", 0..8),
        lookalikes in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut names = names;
        for at in lookalikes.iter().filter(|_| !names.is_empty()).collect::<Vec<_>>() {
            let like = at.index(names.len());
            names.push(with_suffix(&names[like], &like.to_string(), 8));
        }
        let full: Vec<String> = (0..names.len()).map(|at| at.to_string()).collect();
        let mut entries: Vec<(String, &str)> = names.into_iter().zip(full.iter().map(String::as_str)).collect();
        let name = |entries: &[(String, &str)]| distinct(entries, |name, full, digits| with_suffix(name, full, digits));
        let named = name(&entries);
        for (at, one) in named.iter().enumerate() {
            prop_assert!(!named[..at].contains(one), "{one} twice");
        }
        entries.reverse();
        let mut reversed = name(&entries);
        reversed.reverse();
        prop_assert_eq!(reversed, named);
    }
}
