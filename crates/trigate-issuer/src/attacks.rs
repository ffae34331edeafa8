//! Known attacks on authorization servers, what is done here against each, and the test that shows it. The order is that
//! of RFC 9700 §4; ids are those of the project's attack catalogue. Tests are in `tests/it/` unless a path is named.
//!
//! # Insufficient redirect URI validation (RFC 9700 §4.1)
//! A pattern, a prefix or a normalized comparison lets a code go to somebody else. *Here:* the registered text is
//! compared character by character; only the port of a loopback IP address may vary; a fragment, user name or foreign
//! scheme is not followed even if it got into the registration. What is not proven gets a page and no redirect.
//! *Shown by* `o01_…`, `o02_…`, `o03_…`, `o04_…`, `authorize::redirect::tests`.
//!
//! # Leakage by Referer and browser history (§4.2, §4.3)
//! *Here:* `Referrer-Policy: no-referrer` and `Cache-Control: no-store` on every answer; codes live 60 seconds and are
//! bound to a verifier; tokens never stand in a URL, since `response_type` is `code` alone.
//! *Shown by* `every_answer_carries_the_headers_that_keep_it_safe`, `o31_…`.
//!
//! # Mix-up (§4.4)
//! A client that talks to two servers is made to send one's code to the other. *Here:* `iss` in every authorization
//! response, success or error (RFC 9207). *Shown by* `o11_…`.
//!
//! # Code injection, and PKCE downgrade (§4.5, §4.8, §2.1.1)
//! *Here:* PKCE with S256 is required; `plain` is refused; a verifier without a challenge is refused like a challenge
//! without a verifier; the ID token repeats the nonce. *Shown by* `o05_…`, `o06_…`, `o10_…`.
//!
//! # Code replay (RFC 6749 §4.1.2)
//! *Here:* redemption is one transition of the store; the second use revokes the grant with all its tokens, and the answer
//! waits until every gate knows. *Shown by* `o07_…`, `o08_…`, `o09_…`.
//!
//! # Access token for the wrong service (§4.9.1, §4.10.2)
//! *Here:* every token has an audience, chosen among those registered for its client (RFC 8707).
//! *Shown by* `resource_indicators_choose_the_audience`, `what_the_client_asks_wrongly_is_told_by_redirect`.
//!
//! # Open redirection (§4.11)
//! *Here:* pages carry the client's own request and lead to our authorization endpoint alone, which judges it again; no
//! parameter names a place to go. After logout a registered address is offered as a link, never followed.
//! *Shown by* `the_login_page_leads_only_to_our_own_endpoint`, `o36_…`.
//!
//! # 307 redirect with credentials (§4.12)
//! *Here:* every redirect is 303. *Shown by* `a_code_flow_gives_tokens_and_tells_who_answered`.
//!
//! # Stolen refresh token (§4.14)
//! *Here:* rotation in one transition; a used token that comes again ends its whole line. Within the client's window a
//! lost response is given once more: the *same* successor, kept sealed under a key that only the predecessor's text yields, so
//! the store alone gives nobody a token. *Shown by* `o12_…`, `o13_…`, `o14_…`,
//! `a_lost_refresh_response_gets_the_same_successor_within_the_window`.
//!
//! # A client taken for a person (§4.15)
//! *Here:* in a client-credentials token the subject is the client id, there is no `sid`, `gid` or `email`, and scopes
//! about persons are refused. *Shown by* `a_service_gets_a_token_that_speaks_for_no_person`.
//!
//! # Clickjacking and cross-site forms (§4.16, §4.7)
//! *Here:* `frame-ancestors 'none'`, `X-Frame-Options: DENY`, no script at all; forms carry a token bound to a `__Host-`
//! cookie (before login) or to the session (after it), and what the browser says of their origin is heard.
//! *Shown by* `o34_…`, `l07_…`.
//!
//! # Client impersonation (§2.5; RFC 7523 §3)
//! *Here:* exactly one method, the registered one; form-decoded Basic credentials; an assertion's `aud` is our issuer
//! identifier as a single string, its life at most 60 minutes, its `jti` good once; no HMAC and no `none`.
//! *Shown by* `o15_…`, `o16_…`, `o17_…`.
//!
//! # Request smuggled between readers (RFC 6749 §3.1, §3.2)
//! *Here:* a parameter twice, parameters in two places, a wrong content type and a bad escape are errors, never repaired.
//! *Shown by* `o37_…`, `o38_…`, `web::params::tests`.
//!
//! # Scripts of other origins (§2.6)
//! *Here:* token and revocation endpoint, metadata and key set may be read from any origin, without cookies, which they
//! do not look at; nothing else answers a foreign script.
//! *Shown by* `pages_of_any_origin_may_read_what_clients_in_browsers_need_and_nothing_more`.
//!
//! # Guessing passwords, and learning who has an account
//! *Here:* a try is counted before it is judged, by account (in one normal form) and by source; unknown, wrong, disabled and
//! over-long answer alike to the byte and cost the same hashing (an over-long one costs none, whoever's it is).
//! *Shown by* `l01_…`, `l03_…`, `l04_…`.
//!
//! # Exhaustion by password hashing
//! *Here:* bodies of at most 64 KiB and 100 parameters, passwords of at most 1,024 bytes, own threads at low priority that
//! keep their memory, a bounded queue that answers 503. *Shown by* `l05_…`, `account::password::tests`.
//!
//! # Session fixation and planted cookies
//! *Here:* a new session at each login, the earlier one ended; `__Host-` names; two cookies of one name count as none.
//! *Shown by* `l06_…`.
//!
//! # Skipping a step
//! *Here:* no page's completion is believed: the authorization endpoint looks at session and consent themselves, and at a
//! signed mark of when the request came where `prompt` or `max_age` want something newer. *Shown by* `l08_…`, `o33_…`.
//!
//! # Token oracle, foreign revocation, false confirmation (RFC 7662 §4, RFC 7009 §2)
//! *Here:* introspection wants client authentication and answers the token's client and its audience's resource servers;
//! a client revokes its own tokens alone; 200 is answered when it is so at every gate, 503 otherwise.
//! *Shown by* `o18_…`, `o19_…`, `o20_…`.
//!
//! # Stolen tokens and stolen proofs (§4.10.1, RFC 9449 §11)
//! *Here:* a token asked for with a DPoP proof is bound to its key, so are a public client's refresh tokens and, with
//! `dpop_jkt`, the code; a proof is taken once, at whichever node it comes. *Shown by* `o28_…`, `o29_…`, `rfc9449_…`.
//!
//! # Another's certificate at the token endpoint (RFC 8705 §7)
//! *Here:* one rule for a client, compared exactly: one name under a chain that holds, or registered certificates and keys;
//! what is over or revoked proves nobody and binds nothing; a client that is held to bound tokens never gets another.
//! *Shown by* `o40_…`, `rfc8705_…`.
//!
//! # What is not stopped here
//! - A client's own page can be opened in a look-alike browser window: people must read the address bar (the login page
//!   tells them to). Passkeys will.
//! - Anyone can make an account wait by guessing at it (ten tries a quarter of an hour). Known devices are not excepted.
//! - A native app's loopback or scheme redirect can be claimed by another app on the device (RFC 8252 §8.6); PKCE keeps the
//!   code worthless, but a remembered consent is not asked again.
//! - Bearer tokens that are stolen work until they expire or are revoked: clients that can should use DPoP.
