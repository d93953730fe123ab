//! Which tokens hold, and why the others do not.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{RSA_PUBLIC, Signer, base64};
use super::*;

/// When the tests happen, in seconds since 1970.
const NOW: i64 = 1_800_000_000;
const SECRET: &str = "a secret that is at least 32 bytes long";

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn rules() -> Rules {
    Rules {
        algorithms: Algorithm::ALL.to_vec(),
        issuer: Some("https://issuer.example".into()),
        audience: vec!["answers".into(), "questions".into()],
        leeway: Duration::from_secs(60),
        require_exp: true,
        max_bytes: 8 << 10,
    }
}

/// Claims that hold, with changes; `null` takes a claim away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"iss": "https://issuer.example", "aud": "answers", "sub": "u", "exp": NOW + 300});
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn signers() -> [Signer; 4] {
    [Signer::hs256(SECRET), Signer::rs256(), Signer::es256(), Signer::eddsa()]
}

fn key(signer: &Signer, kid: &str) -> Key {
    match signer {
        Signer::Hs256(secret) => Key::from_secret(kid, secret),
        Signer::Rs256(_) | Signer::Es256(_) | Signer::EdDsa(_) => {
            let algorithm = Algorithm::parse(signer.algorithm()).unwrap();
            Key::from_pem(kid, algorithm, signer.pem().as_bytes()).unwrap()
        }
    }
}

fn check(token: &str, keys: &[Key], rules: &Rules) -> Result<Verified, Rejection> {
    verify(token, &[keys], rules, now())
}

fn refused(token: &str, keys: &[Key]) -> Option<Rejection> {
    check(token, keys, &rules()).err()
}

#[test]
fn what_each_algorithm_signs_holds() {
    for signer in signers() {
        let verified = check(&signer.token("k", &claims(&json!({}))), &[key(&signer, "k")], &rules()).unwrap();
        assert_eq!(verified.claims["sub"], "u", "{}", signer.algorithm());
        assert_eq!(verified.until, Some((NOW + 360) * 1_000));
    }
}

#[test]
fn claims_are_judged_alike_under_each_algorithm() {
    let rows = [
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(Rejection::Expired)),
        (json!({"exp": NOW as f64 - 59.5}), None),
        (json!({"exp": -1e300}), Some(Rejection::Expired)),
        (json!({"exp": 1e300}), None),
        (json!({"exp": u64::MAX}), None),
        (json!({"exp": "2030"}), Some(Rejection::Malformed)),
        (json!({"exp": null}), Some(Rejection::NoExpiry)),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some(Rejection::NotYetValid)),
        (json!({"nbf": 1e300}), Some(Rejection::NotYetValid)),
        (json!({"nbf": []}), Some(Rejection::Malformed)),
        (json!({"iss": "https://issuer.example/"}), Some(Rejection::Issuer)),
        (json!({"iss": ["https://issuer.example"]}), Some(Rejection::Issuer)),
        (json!({"iss": null}), Some(Rejection::Issuer)),
        (json!({"aud": ["others", "questions"]}), None),
        (json!({"aud": ["others"]}), Some(Rejection::Audience)),
        (json!({"aud": [["answers"]]}), Some(Rejection::Audience)),
        (json!({"aud": "answers "}), Some(Rejection::Audience)),
        (json!({"aud": null}), Some(Rejection::Audience)),
    ];
    for signer in signers() {
        let keys = [key(&signer, "k")];
        for (changes, expected) in &rows {
            let found = refused(&signer.token("k", &claims(changes)), &keys);
            assert_eq!(found, *expected, "{} {changes}", signer.algorithm());
        }
    }
}

/// Tokens that PyJWT 2.15.1 has signed, one a line behind its algorithm.
#[test]
fn what_another_library_signs_holds() {
    let keys = [
        Key::from_secret("k", SECRET.as_bytes()),
        Key::from_pem("k", Algorithm::Rs256, RSA_PUBLIC.as_bytes()).unwrap(),
        Key::from_pem("k", Algorithm::Es256, include_bytes!("../../tests/keys/pyjwt-es256-public.pem")).unwrap(),
        Key::from_pem("k", Algorithm::EdDsa, include_bytes!("../../tests/keys/pyjwt-eddsa-public.pem")).unwrap(),
    ];
    let lines: Vec<&str> = include_str!("../../tests/keys/pyjwt.txt").lines().collect();
    assert_eq!(lines.len(), keys.len());
    for (line, key) in lines.into_iter().zip(keys) {
        let (algorithm, token) = line.split_once(' ').unwrap();
        assert_eq!(algorithm, key.algorithm().as_str());
        let verified = check(token, &[key], &rules()).unwrap();
        assert_eq!(
            (&verified.claims["sub"], &verified.claims["org"]["industry"]),
            (&json!("användare-7"), &json!("logistics"))
        );
    }
}

#[test]
fn rules_that_are_left_out_do_not_hold() {
    let signer = Signer::hs256(SECRET);
    let open = Rules { issuer: None, audience: Vec::new(), require_exp: false, ..rules() };
    let token = signer.token("k", &json!({"sub": "u", "iss": "anybody", "aud": "anything"}));
    assert_eq!(check(&token, &[key(&signer, "k")], &open).unwrap().until, None);
}

#[test]
fn forged_and_foreign_tokens_are_refused_under_each_algorithm() {
    let others = [Signer::hs256("another secret of at least 32 bytes"), Signer::es256(), Signer::eddsa()];
    for signer in signers() {
        let (keys, good) = ([key(&signer, "k")], signer.token("k", &claims(&json!({}))));
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, payload) = message.split_once('.').unwrap();
        let admin = base64(claims(&json!({"sub": "admin"})).to_string());
        let signed_by = |name: &str| signer.token_with(&json!({"alg": name, "kid": "k"}), &claims(&json!({})));
        let rows = [
            (format!("{header}.{admin}.{signature}"), Rejection::Signature),
            (format!("{message}.{}", base64([0; 64])), Rejection::Signature),
            (format!("{message}."), Rejection::Signature),
            (signer.token("other", &claims(&json!({}))), Rejection::UnknownKey),
            (signed_by("none"), Rejection::Algorithm),
            (signed_by("HS512"), Rejection::Algorithm),
            (signed_by(&signer.algorithm().to_lowercase()), Rejection::Algorithm),
            (format!("{}.{payload}.", base64(r#"{"alg":"none","kid":"k"}"#)), Rejection::Algorithm),
            (message.to_owned(), Rejection::Malformed),
            (format!("{good}.{signature}"), Rejection::Malformed),
            (format!("{good}="), Rejection::Malformed),
            (format!(".{good}"), Rejection::Malformed),
            (format!("{message}.{signature} "), Rejection::Malformed),
            (
                signer.token_with(&json!({"alg": signer.algorithm(), "crit": ["b64"]}), &claims(&json!({}))),
                Rejection::Malformed,
            ),
            (signer.token_with(&json!({"kid": "k"}), &claims(&json!({}))), Rejection::Malformed),
            (
                signer.token_with(&json!({"alg": signer.algorithm(), "kid": 7}), &claims(&json!({}))),
                Rejection::Malformed,
            ),
            (signer.token("k", &json!(["no", "object"])), Rejection::Malformed),
            (format!("{good}{}", "A".repeat(8 << 10)), Rejection::TooLarge),
        ];
        for (token, expected) in rows {
            assert_eq!(refused(&token, &keys), Some(expected), "{} {token}", signer.algorithm());
        }
        for other in others.iter().filter(|other| other.algorithm() == signer.algorithm()) {
            assert_eq!(refused(&other.token("k", &claims(&json!({}))), &keys), Some(Rejection::Signature));
        }
    }
}

/// Whoever has only the public key must not be able to use it as a secret.
#[test]
fn a_public_key_is_never_a_secret() {
    let owner = Signer::rs256();
    let keys = [key(&owner, "k")];
    for secret in [RSA_PUBLIC, RSA_PUBLIC.trim_end()] {
        let thief = Signer::hs256(secret);
        assert_eq!(refused(&thief.token("k", &claims(&json!({}))), &keys), Some(Rejection::Algorithm));
        let nameless = thief.token_with(&json!({"alg": "HS256"}), &claims(&json!({})));
        assert_eq!(refused(&nameless, &keys), Some(Rejection::UnknownKey));
    }
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_though_there_is_a_key() {
    let signer = Signer::hs256(SECRET);
    let only = Rules { algorithms: vec![Algorithm::Rs256], ..rules() };
    let found = check(&signer.token("k", &claims(&json!({}))), &[key(&signer, "k")], &only);
    assert_eq!(found.err(), Some(Rejection::Algorithm));
}

#[test]
fn without_a_kid_the_keys_of_the_algorithm_are_tried_up_to_a_bound() {
    let signer = Signer::es256();
    let nameless = signer.token_with(&json!({"alg": "ES256"}), &claims(&json!({})));
    let others = |count: usize| (0..count).map(|n| key(&Signer::es256(), &format!("k{n}"))).collect::<Vec<_>>();
    let foreign = vec![key(&Signer::rs256(), "rsa"); MAX_TRIED_KEYS];
    let mine = [key(&signer, "mine")];
    let found = |sets: &[&[Key]]| verify(&nameless, sets, &rules(), now()).err();
    assert_eq!(found(&[&foreign, &others(MAX_TRIED_KEYS - 1), &mine]), None);
    assert_eq!(found(&[&foreign, &others(MAX_TRIED_KEYS), &mine]), Some(Rejection::Signature));
    assert_eq!(found(&[&foreign]), Some(Rejection::UnknownKey));
}

#[test]
fn claims_that_go_too_deep_are_refused() {
    let signer = Signer::hs256(SECRET);
    let deep = |levels: usize| {
        let message = format!(
            "{}.{}",
            base64(r#"{"alg":"HS256"}"#),
            base64(format!(
                r#"{{"iss":"https://issuer.example","aud":"answers","exp":1e12,"deep":{}{}}}"#,
                "[".repeat(levels),
                "]".repeat(levels)
            ))
        );
        format!("{message}.{}", base64(signer.sign(message.as_bytes())))
    };
    let keys = [key(&signer, "k")];
    assert_eq!(refused(&deep(100), &keys), None);
    assert_eq!(refused(&deep(2_000), &keys), Some(Rejection::Malformed));
}

#[test]
fn sets_give_their_public_keys() {
    let signers = signers();
    let mut entries: Vec<Value> = signers.iter().map(|signer| signer.jwk(signer.algorithm())).collect();
    let (rsa, ec) = (entries[1].clone(), entries[2].clone());
    let with = |entry: &Value, name: &str, value: Value| {
        let mut entry = entry.clone();
        entry[name] = value;
        entry
    };
    entries.extend([
        with(&rsa, "use", json!("enc")),
        with(&rsa, "alg", json!("RS512")),
        with(&rsa, "key_ops", json!(["sign"])),
        with(&rsa, "n", json!(base64([1; 128]))),
        with(&rsa, "n", json!("a+b")),
        with(&ec, "crv", json!("P-384")),
        with(&ec, "x", json!(base64([1; 31]))),
        with(&ec, "y", Value::Null),
        with(&rsa, "kid", json!(7)),
        json!({"kty": "new"}),
        json!("no object"),
    ]);
    let keys = key_set(json!({ "keys": entries }).to_string().as_bytes()).unwrap();
    assert_eq!(keys.iter().map(|key| key.algorithm().as_str()).collect::<Vec<_>>(), ["RS256", "ES256", "EdDSA"]);
    for signer in &signers[1..] {
        assert_eq!(refused(&signer.token(signer.algorithm(), &claims(&json!({}))), &keys), None);
    }
    let secret = signers[0].token("HS256", &claims(&json!({})));
    assert_eq!(refused(&secret, &keys), Some(Rejection::UnknownKey));
}

#[test]
fn what_is_no_set_is_refused() {
    let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] }).to_string();
    let rows = [
        ("", SetError::Shape),
        ("[]", SetError::Shape),
        (r#"{"keys":{}}"#, SetError::Shape),
        (&many, SetError::TooMany),
    ];
    for (document, expected) in rows {
        assert_eq!(key_set(document.as_bytes()).err(), Some(expected), "{document:.40}");
    }
    assert_eq!(key_set(br#"{"keys":[]}"#).unwrap().len(), 0);
}

#[test]
fn what_is_no_key_is_refused() {
    let (rsa, ec, ed) = (Signer::rs256().pem(), Signer::es256().pem(), Signer::eddsa().pem());
    let short = include_str!("../../tests/keys/rsa-1024-public.pem");
    let private = include_str!("../../tests/keys/rsa-private.pem");
    let garbled = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", "AAAA".repeat(20));
    let rows = [
        ("", Algorithm::Rs256, KeyError::NotPem),
        ("AAAA", Algorithm::Rs256, KeyError::NotPem),
        (private, Algorithm::Rs256, KeyError::NotPem),
        (&garbled, Algorithm::Rs256, KeyError::Unreadable),
        (short, Algorithm::Rs256, KeyError::Bits(1024)),
        (&ec, Algorithm::Rs256, KeyError::OtherAlgorithm(Algorithm::Rs256)),
        (&rsa, Algorithm::Es256, KeyError::OtherAlgorithm(Algorithm::Es256)),
        (&ed, Algorithm::Es256, KeyError::OtherAlgorithm(Algorithm::Es256)),
        (&ec, Algorithm::EdDsa, KeyError::OtherAlgorithm(Algorithm::EdDsa)),
        (&rsa, Algorithm::Hs256, KeyError::Symmetric(Algorithm::Hs256)),
    ];
    for (pem, algorithm, expected) in rows {
        assert_eq!(Key::from_pem("k", algorithm, pem.as_bytes()).err(), Some(expected), "{algorithm:?} {pem:.60}");
    }
}

#[test]
fn debugging_shows_no_key() {
    assert_eq!(
        format!("{:?}", Key::from_secret("k", SECRET.as_bytes())),
        r#"Key { kid: Some("k"), algorithm: Hs256, .. }"#
    );
}

#[test]
fn reasons_have_words_and_places_of_their_own() {
    for (index, reason) in Rejection::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        assert_eq!(Rejection::ALL.iter().filter(|other| other.as_str() == reason.as_str()).count(), 1);
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in "\\PC{0,200}|[A-Za-z0-9_.-]{0,200}") {
        prop_assert!(refused(&text, &[Key::from_secret("k", SECRET.as_bytes())]).is_some());
    }

    #[test]
    fn a_token_with_one_letter_changed_is_none(at in 0_usize..200, letter in "[A-Za-z0-9_.-]") {
        let signer = Signer::hs256(SECRET);
        let token = signer.token("k", &claims(&json!({})));
        let at = at % token.len();
        prop_assume!(token[at..=at] != letter);
        let changed = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
        prop_assert!(refused(&changed, &[key(&signer, "k")]).is_some());
    }
}
