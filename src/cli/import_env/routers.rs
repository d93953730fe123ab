//! What each of the three programs means by its variables, and what Pointsman says for it.
//!
//! Every variable ends in a value or in a notice. Defaults are those of the programs.

use super::page::{Page, float, milliseconds, placeholder, text};
use super::variables::{Reader, Typed};
use crate::config::url_mistake;
use crate::domain::Arm;

/// What our variables begin with.
pub(super) const PREFIXES: [&str; 7] = [
    "LIGHTRAG_",
    "XZE_KEYWORD_EXTRACTION_",
    "ENABLE_VARIANT_GENERATION",
    "VARIANT_GENERATION_",
    "RAG_",
    "LOG_VARIANT_",
    "GOOGLE_ANALYTICS_",
];

/// Placeholders of the page itself that begin so: they may be set already.
const PLACEHOLDERS: [&str; 2] = ["LIGHTRAG_URL", "RAG_BASIC_CREDENTIALS"];

/// What a breaker counts to at most.
const MOST_FAILURES: u64 = 16_383;
/// Percentages.
const PERCENT: [f64; 2] = [0.0, 100.0];
/// Scores and similarities.
const UNIT: [f64; 2] = [0.0, 1.0];
/// Lengths of time, in seconds and in milliseconds: a day at most.
const SECONDS: [f64; 2] = [0.001, 86_400.0];
const MILLISECONDS: [u64; 2] = [1, 86_400_000];

const ALWAYS_MEASURED: &str = "both arms are always measured, so there is nothing to switch: see /metrics and \
                               `pointsman status`, and compare by `assigned`";
const NO_URL: &str = "no variable holds this address: set the variable, or put it here";
const NO_PATH: &str = "no variable holds the path: put the one that clients ask for here";
const REPLAY: &str = "as that program fell back, whatever failed; \"connect\" if asking twice does harm";

const LIGHTRAG: [&str; 13] = [
    "LIGHTRAG_INTEGRATION_ENABLED",
    "LIGHTRAG_ROLLOUT_PERCENTAGE",
    "LIGHTRAG_ENABLE_AB_TESTING",
    "LIGHTRAG_ENABLE_CIRCUIT_BREAKER",
    "LIGHTRAG_CIRCUIT_BREAKER_FAILURE_THRESHOLD",
    "LIGHTRAG_CIRCUIT_BREAKER_RECOVERY_TIMEOUT",
    "LIGHTRAG_ENABLE_QUALITY_METRICS",
    "LIGHTRAG_MIN_QUALITY_THRESHOLD",
    "LIGHTRAG_USER_HASH_SALT",
    "LIGHTRAG_FORCE_USER_COHORT",
    "LIGHTRAG_ENABLE_CONDITIONAL_ROUTING",
    "LIGHTRAG_LOG_LEVEL",
    "LIGHTRAG_ENABLE_DETAILED_LOGGING",
];

/// The router between LightRAG and Perplexity.
struct LightRag {
    enabled: Typed<bool>,
    percent: Typed<f64>,
    breaker: Typed<bool>,
    threshold: Typed<u64>,
    recovery: Typed<f64>,
    quality: Typed<bool>,
    least_quality: Typed<f64>,
    salt: Typed<String>,
    forced: Typed<Option<Arm>>,
    level: Typed<&'static str>,
    detailed: Typed<bool>,
}

const KEYWORDS: [&str; 3] =
    ["XZE_KEYWORD_EXTRACTION_ROLLOUT_PERCENTAGE", "XZE_KEYWORD_EXTRACTION_AB_TEST", "XZE_KEYWORD_EXTRACTION_METRICS"];

/// Variables that make the route of the variants; an analytics id alone makes none.
const VARIANTS: [&str; 7] = [
    "ENABLE_VARIANT_GENERATION_V2",
    "VARIANT_GENERATION_ROLLOUT_PERCENTAGE",
    "RAG_API_URL",
    "RAG_TIMEOUT_MS",
    "RAG_RETRY_ATTEMPTS",
    "RAG_SIMILARITY_THRESHOLD",
    "LOG_VARIANT_SELECTIONS",
];
const ANALYTICS: &str = "GOOGLE_ANALYTICS_ID";

/// Variant generation v2 beside the legacy one.
struct Variants {
    enabled: Typed<bool>,
    percent: Typed<f64>,
    url: Address,
    timeout: Typed<u64>,
    log: Typed<bool>,
}

/// What became of `RAG_API_URL`.
enum Address {
    Unset,
    /// Empty: that program then does without.
    Off,
    Plain(String),
    /// Without the user name and password that it had.
    Stripped(String),
}

/// Everything that was found, by program.
pub(super) struct Found {
    lightrag: Option<LightRag>,
    keywords: Option<Typed<f64>>,
    variants: Option<Variants>,
}

impl Found {
    /// Reads everything; mistakes and notices stay with the reader.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let lightrag = reader.any_set(&LIGHTRAG).then(|| lightrag(reader));
        let keywords = reader.any_set(&KEYWORDS).then(|| keywords(reader));
        let variants = reader.any_set(&VARIANTS).then(|| variants(reader));
        let analytics = Typed { name: ANALYTICS, value: (), set: reader.raw(ANALYTICS).is_some() };
        reader.notice(
            &analytics,
            "the gateway sends nothing to Google Analytics; set `expose = \"always\"` in the route, and let the page \
             report the answer's x-pointsman-arm",
        );
        for name in LIGHTRAG.into_iter().chain(KEYWORDS).chain(VARIANTS).chain(PLACEHOLDERS) {
            // So that each is known, whether or not its program is there.
            reader.raw(name);
        }
        reader.name_unknown(&PREFIXES);
        Self { lightrag, keywords, variants }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.lightrag.is_none() && self.keywords.is_none() && self.variants.is_none()
    }

    /// The names of the routes that come of it.
    pub(super) fn routes(&self) -> Vec<&'static str> {
        let lightrag = self.lightrag.as_ref().map(|_| "lightrag");
        let keywords = self.keywords.as_ref().map(|_| "keywords");
        [lightrag, keywords, self.variants.as_ref().map(|_| "variants")].into_iter().flatten().collect()
    }

    /// Writes everything that is not the page's head.
    pub(super) fn write(&self, page: &mut Page) {
        self.write_log(page);
        page.table("contexts.user");
        page.value("key", "[{ header = \"x-user-id\" }]", "no variable says who asks: put where clients say it here");
        if let Some(found) = &self.lightrag {
            found.write(page);
        }
        if let Some(percent) = &self.keywords {
            write_keywords(page, percent);
        }
        if let Some(found) = &self.variants {
            found.write(page);
        }
    }

    fn write_log(&self, page: &mut Page) {
        let lightrag = self.lightrag.as_ref();
        let switches = [lightrag.map(|found| &found.detailed), self.variants.as_ref().map(|found| &found.log)];
        let switches: Vec<_> = switches.into_iter().flatten().collect();
        if lightrag.is_none() && switches.is_empty() {
            return;
        }
        page.table("log");
        if let Some(found) = lightrag {
            page.value("level", &text(found.level.value), &found.level.origin());
        }
        let share = if switches.iter().any(|switch| switch.value) { "1.0" } else { "0.01" };
        let origins = switches.iter().map(|switch| switch.origin()).collect::<Vec<_>>().join("; ");
        page.value("access_sample", share, &format!("share of requests with a line: {origins}"));
    }
}

fn lightrag(reader: &mut Reader<'_>) -> LightRag {
    let measured = reader.switch("LIGHTRAG_ENABLE_AB_TESTING", false);
    reader.notice(&measured, ALWAYS_MEASURED);
    let conditional = reader.switch("LIGHTRAG_ENABLE_CONDITIONAL_ROUTING", false);
    if conditional.value {
        let text = "its conditions stand in that router's code, not in variables; write them as `eligible` or \
                    `rules` of the route (README, \"Targeting\")";
        reader.notice(&conditional, text);
    } else {
        reader.notice(&conditional, "a route without conditions has none to switch off");
    }
    let found = LightRag {
        enabled: reader.switch("LIGHTRAG_INTEGRATION_ENABLED", false),
        percent: reader.number("LIGHTRAG_ROLLOUT_PERCENTAGE", 0.0, PERCENT),
        breaker: reader.switch("LIGHTRAG_ENABLE_CIRCUIT_BREAKER", true),
        threshold: reader.count("LIGHTRAG_CIRCUIT_BREAKER_FAILURE_THRESHOLD", 5, [1, MOST_FAILURES]),
        recovery: reader.number("LIGHTRAG_CIRCUIT_BREAKER_RECOVERY_TIMEOUT", 300.0, SECONDS),
        quality: reader.switch("LIGHTRAG_ENABLE_QUALITY_METRICS", false),
        least_quality: reader.number("LIGHTRAG_MIN_QUALITY_THRESHOLD", 0.7, UNIT),
        salt: salt(reader),
        forced: cohort(reader),
        level: level(reader),
        detailed: reader.switch("LIGHTRAG_ENABLE_DETAILED_LOGGING", false),
    };
    if !found.breaker.value {
        let text = "a candidate always has a breaker; its threshold is set to the largest, so that it hardly ever \
                    opens. Better: remove both lines, and let it protect your users";
        reader.notice(&found.breaker, text);
        reader.notice(&found.threshold, "not taken over, since LIGHTRAG_ENABLE_CIRCUIT_BREAKER is off");
    }
    if found.quality.value {
        let text = "that router scored answers itself; the gateway reads the score from the response header \
                    x-quality-score (0 to 1), which the backend has to send";
        reader.notice(&found.quality, text);
    } else {
        let text = "not taken over, since LIGHTRAG_ENABLE_QUALITY_METRICS is off; set it and import again for a gate";
        reader.notice(&found.least_quality, text);
    }
    found
}

/// Hashed as it is, spaces included: it decides who gets what.
fn salt(reader: &mut Reader<'_>) -> Typed<String> {
    let name = "LIGHTRAG_USER_HASH_SALT";
    let given = reader.raw(name);
    if given == Some("") {
        let right = "a salt of at least one character; without the variable, that router's is \"default_salt\"";
        reader.mistake(name, "it is empty", right);
    }
    Typed { name, value: given.unwrap_or("default_salt").to_owned(), set: given.is_some() }
}

fn cohort(reader: &mut Reader<'_>) -> Typed<Option<Arm>> {
    let words = [("lightrag", Some(Arm::Candidate)), ("perplexity", Some(Arm::Control))];
    reader.word("LIGHTRAG_FORCE_USER_COHORT", None, &words)
}

/// Python's levels in the words of the gateway's log.
fn level(reader: &mut Reader<'_>) -> Typed<&'static str> {
    let words = [
        ("DEBUG", "debug"),
        ("INFO", "info"),
        ("WARNING", "warn"),
        ("WARN", "warn"),
        ("ERROR", "error"),
        ("CRITICAL", "error"),
    ];
    reader.word("LIGHTRAG_LOG_LEVEL", "info", &words)
}

impl LightRag {
    fn write(&self, page: &mut Page) {
        page.gap();
        page.remark("LightRAG beside Perplexity.");
        if self.quality.value {
            page.table("metrics.quality");
            page.value("kind", "\"value\"", &self.quality.origin());
            page.value("better", "\"higher\"", &self.quality.origin());
            page.value("from", "{ response_header = \"x-quality-score\" }", "what the backend has to send");
        }
        page.table("backends.perplexity");
        page.value("url", &placeholder("${PERPLEXITY_URL:-https://api.perplexity.ai}"), NO_URL);
        page.remark("headers = { authorization = \"Bearer ${PERPLEXITY_API_KEY}\" }   # where it asks for a key");
        page.table("backends.lightrag");
        page.value("url", &placeholder("${LIGHTRAG_URL:-http://127.0.0.1:9621}"), NO_URL);
        self.write_breaker(page);
        self.write_route(page);
    }

    fn write_breaker(&self, page: &mut Page) {
        page.table("backends.lightrag.breaker");
        let (threshold, origin) = if self.breaker.value {
            (self.threshold.value, format!("{}; {}", self.threshold.origin(), self.breaker.origin()))
        } else {
            (MOST_FAILURES, format!("{}: hardly ever opens", self.breaker.origin()))
        };
        page.value("consecutive_failures", &threshold.to_string(), &origin);
        let open_for = milliseconds((self.recovery.value * 1_000.0).round() as u64);
        page.value("open_for", &open_for, &self.recovery.origin());
        page.value("open_for_max", &open_for, &format!("{}: the same each time", self.recovery.origin()));
    }

    fn write_route(&self, page: &mut Page) {
        page.table("routes.lightrag");
        page.value("path", "\"/query\"", NO_PATH);
        page.value("control", "\"perplexity\"", "the trusted one");
        page.value("candidate", "\"lightrag\"", "the new one");
        page.value("enabled", &self.enabled.value.to_string(), &self.enabled.origin());
        let same = format!("{}: the same formula, so users keep their cohort", self.salt.origin());
        page.value("salt", &text(&self.salt.value), &same);
        match self.forced.value {
            Some(arm) => page.value("forced", &text(arm.as_str()), &self.forced.origin()),
            None => page.remark("forced = \"candidate\" would give everybody LightRAG (LIGHTRAG_FORCE_USER_COHORT)."),
        }
        page.value("fallback", "{ replay = \"always\" }", REPLAY);
        page.table("routes.lightrag.rollout");
        page.value("percent", &float(self.percent.value), &self.percent.origin());
        if self.quality.value {
            page.table("routes.lightrag.quality_gate");
            page.value("metric", "\"quality\"", &self.quality.origin());
            page.value("min", &float(self.least_quality.value), &self.least_quality.origin());
        } else {
            page.remark(&format!("No quality_gate: {}.", self.quality.origin()));
        }
    }
}

fn keywords(reader: &mut Reader<'_>) -> Typed<f64> {
    let measured = reader.switch("XZE_KEYWORD_EXTRACTION_AB_TEST", false);
    reader.notice(&measured, ALWAYS_MEASURED);
    let metrics = reader.switch("XZE_KEYWORD_EXTRACTION_METRICS", true);
    let text = "metrics are always on, and nothing waits for them: GET /metrics on the address of [observe]";
    reader.notice(&metrics, text);
    reader.number("XZE_KEYWORD_EXTRACTION_ROLLOUT_PERCENTAGE", 0.0, PERCENT)
}

fn write_keywords(page: &mut Page, percent: &Typed<f64>) {
    page.gap();
    page.remark("Keywords by a language model beside those by frequency. The percentage is the same; who is in it is");
    page.remark("drawn by this gateway's own formula over the user's key.");
    page.table("backends.frequency");
    page.value("url", &placeholder("${KEYWORDS_FREQUENCY_URL:-http://127.0.0.1:8081}"), NO_URL);
    page.table("backends.llm");
    page.value("url", &placeholder("${KEYWORDS_LLM_URL:-http://127.0.0.1:8082}"), NO_URL);
    page.table("routes.keywords");
    page.value("path", "\"/keywords\"", NO_PATH);
    page.value("control", "\"frequency\"", "the trusted one");
    page.value("candidate", "\"llm\"", "the new one");
    page.value("fallback", "{ replay = \"always\" }", REPLAY);
    page.table("routes.keywords.rollout");
    page.value("percent", &float(percent.value), &percent.origin());
}

fn variants(reader: &mut Reader<'_>) -> Variants {
    let retries = reader.count("RAG_RETRY_ATTEMPTS", 1, [0, 100]);
    let text = "a failed request is not sent to the same backend again, which would make an outage worse; control \
                answers it instead (`fallback`), and the breaker leaves the backend alone";
    reader.notice(&retries, text);
    let similarity = reader.number("RAG_SIMILARITY_THRESHOLD", 0.65, UNIT);
    let text = "it concerns what the backend searches, not who is sent there: set it at the backend";
    reader.notice(&similarity, text);
    Variants {
        enabled: reader.switch("ENABLE_VARIANT_GENERATION_V2", false),
        percent: reader.number("VARIANT_GENERATION_ROLLOUT_PERCENTAGE", 0.0, PERCENT),
        url: address(reader),
        timeout: reader.count("RAG_TIMEOUT_MS", 10_000, MILLISECONDS),
        log: reader.switch("LOG_VARIANT_SELECTIONS", true),
    }
}

fn address(reader: &mut Reader<'_>) -> Address {
    const NAME: &str = "RAG_API_URL";
    let Some(given) = reader.raw(NAME).map(str::trim) else { return Address::Unset };
    if given.is_empty() {
        reader.notices.push(format!("{NAME}: it is empty, so the candidate is off and control serves everybody"));
        return Address::Off;
    }
    let (url, stripped) = without_credentials(given);
    // What is in the URL may be a secret, so that only the reason is told.
    if let Some(right) = url_mistake(&url) {
        reader.mistakes.push(format!("{NAME}: found what is no URL of a backend (it is not shown); {right}"));
    }
    if !stripped {
        return Address::Plain(url);
    }
    let text = "its user name and password are not written to the file; set RAG_BASIC_CREDENTIALS to the base64 of \
                `user:password`";
    reader.notices.push(format!("{NAME}: {text}"));
    Address::Stripped(url)
}

/// The URL without `user:password@`, and whether it had that.
fn without_credentials(url: &str) -> (String, bool) {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    match authority.rsplit_once('@') {
        Some((_, host)) => (format!("{scheme}://{host}{path}"), true),
        None => (url.to_owned(), false),
    }
}

impl Variants {
    fn write(&self, page: &mut Page) {
        page.gap();
        page.remark(
            "Variant generation v2 beside the legacy one. The percentage is the same; who is in it is drawn by",
        );
        page.remark("this gateway's own formula over the user's key.");
        page.table("backends.legacy");
        page.value("url", &placeholder("${VARIANTS_LEGACY_URL:-http://127.0.0.1:3001}"), NO_URL);
        page.table("backends.rag");
        self.write_address(page);
        let timeout = format!("{{ first_byte = {} }}", milliseconds(self.timeout.value));
        page.value("timeouts", &timeout, &self.timeout.origin());
        page.table("routes.variants");
        page.value("path", "\"/variants\"", NO_PATH);
        page.value("control", "\"legacy\"", "the trusted one");
        page.value("candidate", "\"rag\"", "the new one");
        page.value("enabled", &self.enabled.value.to_string(), &self.enabled.origin());
        page.value("fallback", "{ replay = \"always\" }", REPLAY);
        page.table("routes.variants.rollout");
        page.value("percent", &float(self.percent.value), &self.percent.origin());
    }

    fn write_address(&self, page: &mut Page) {
        const ORIGIN: &str = "RAG_API_URL";
        match &self.url {
            Address::Unset => {
                page.value("url", &placeholder("${RAG_API_URL:-http://127.0.0.1:8000}"), "RAG_API_URL, once it is set");
            }
            Address::Off => page.value("url", "\"\"", "RAG_API_URL is empty: the candidate is off"),
            Address::Plain(url) => page.value("url", &text(url), ORIGIN),
            Address::Stripped(url) => {
                page.value("url", &text(url), "RAG_API_URL, without its user name and password");
                let header = placeholder("Basic ${RAG_BASIC_CREDENTIALS:-}");
                let header = format!("{{ authorization = {header} }}");
                page.value("headers", &header, "RAG_API_URL: base64 of `user:password`, from a variable");
            }
        }
    }
}
