//! Secrets are read, and never shown.

use secrecy::ExposeSecret as _;

use super::*;

const SECRET: &str = "correct-horse-battery-staple";

fn places(secret: &str) -> String {
    format!(
        "[admin.tokens.a]\nrole = \"admin\"\ntoken = {secret}\n[log]\nuser_hash_secret = {secret}\n\
         [backends.a]\nurl = \"http://a\"\nheaders = {{ x-key = {secret} }}\n[backends.b]\nurl = \"http://b\"\n\
         {ROUTE}override = {{ key = {secret} }}\n"
    )
}

fn check(loaded: &Loaded, way: &str) {
    let config = &loaded.config;
    assert_eq!(config.admin.tokens[0].token.expose_secret(), SECRET, "{way}");
    assert_eq!(config.log.user_hash_secret.as_ref().unwrap().expose_secret(), SECRET, "{way}");
    assert_eq!(config.backends[0].headers[0].1.to_str().unwrap(), SECRET, "{way}");
    assert_eq!(config.routes[0].override_header.as_ref().unwrap().key.expose_secret(), SECRET, "{way}");
    let shown = format!("{config:?} {} {:?}", loaded.redacted, loaded.warnings);
    assert!(!shown.contains(SECRET), "{way}: {shown}");
}

#[test]
fn from_text_variable_and_file() {
    check(&good(&places(&format!("{SECRET:?}")), &[]), "text");
    check(&good(&places("\"${TOKEN}\""), &[("TOKEN", SECRET)]), "variable");
    for (end, way) in [("", "file"), ("\n", "file with a line end"), ("\r\n", "file from elsewhere")] {
        let text = places("{ file = \"secret\" }");
        let folder = Folder::new(&[("gateway.toml", &text), ("secret", &format!("{SECRET}{end}"))]);
        check(&folder.load(None).unwrap_or_else(|report| panic!("{report}")), way);
    }
}

#[test]
fn a_files_mistakes_are_told_without_it() {
    let text = places("{ file = \"secret\" }");
    let rows: [(&[u8], &str); 4] = [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff\xfe", "is not UTF-8"),
        (&[b'x'; (64 << 10) + 1], "is too large"),
    ];
    for (bytes, expected) in rows {
        let folder = Folder::new(&[("gateway.toml", &text)]);
        std::fs::write(folder.path().join("secret"), bytes).unwrap();
        let message = folder.load(None).unwrap_err().to_string();
        assert_eq!(message.matches(expected).count(), 4, "{message}");
    }
    let odd = Folder::new(&[("gateway.toml", &text), ("secret/inside", "")]).load(None).unwrap_err().to_string();
    assert_eq!(odd.matches("cannot read \"secret\": not a file").count(), 4, "{odd}");
    let missing = Folder::new(&[("gateway.toml", &text)]).load(None).unwrap_err().to_string();
    assert_eq!(missing.matches("cannot read \"secret\"").count(), 4, "{missing}");
}

#[test]
fn messages_about_a_line_do_not_show_its_secrets() {
    let broken = [
        format!("[admin.tokens.a]\nrole = \"x\"\ntoken = {SECRET:?}\n"),
        format!("[admin.tokens]\na = {{ role = \"x\", token = {SECRET:?} }}\n"),
        format!("[profiles.p.admin.tokens]\na = {{ roles = \"x\", token = {SECRET:?} }}\n"),
        format!("[backends.c]\nurl = \"http://user:{SECRET}@c\"\n"),
        format!("[backends.c]\nurls = [\"http://user:{SECRET}@c\"]\n"),
        format!("[admin.tokens.a]\nrole = \"admin\"\ntoken = [{SECRET:?}]\n"),
        format!("[backends.c]\nurl = \"http://c\"\nheaders = {{ \"x y\" = {SECRET:?} }}\n"),
    ];
    for text in broken {
        let message = bad(&format!("{text}{BACKENDS}{ROUTE}"), &[]);
        assert!(!message.contains(SECRET), "{message}");
    }
    let variable = [("POINTSMAN__BACKENDS__A__HEADERS__HOST", SECRET), ("POINTSMAN__ADMIN__TOKEN", SECRET)];
    let message = bad(&format!("{BACKENDS}{ROUTE}"), &variable);
    assert!(!message.contains(SECRET), "{message}");
    let url = bad(&format!("[backends.a]\nurl = \"${{U}}\"\n{ROUTE}"), &[("U", &format!("ftp://{SECRET}"))]);
    assert!(!url.contains(SECRET), "{url}");
}
