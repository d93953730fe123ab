//! Keys that tokens are verified with. Each is for exactly one algorithm.

use std::fmt;

use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ring::{hmac, signature};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use spki::der::asn1::UintRef;
use spki::der::{Decode as _, Reader as _, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// Shortest secret for HS256, in bytes: as long as the hash (RFC 7518, 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Bits that the modulus of an RSA key may have: RFC 7518, 3.3 asks for 2048 at least.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Bytes of a coordinate on P-256, and of a key on Ed25519.
pub(super) const COORDINATE_BYTES: usize = 32;
/// What precedes the coordinates of a point that is not compressed (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// `rsaEncryption` (RFC 3279, 2.3.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480, 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1` (RFC 5480, 2.1.1.1).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `id-Ed25519` (RFC 8410, 3).
const ED_25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a token is signed (RFC 7518, 3.1 and RFC 8037, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name in a token's header and in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// By its exact name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether signer and verifier share a secret.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        match self {
            Self::Hs256 => true,
            Self::Rs256 | Self::Es256 | Self::EdDsa => false,
        }
    }
}

/// A key and its name.
#[derive(Clone)]
pub struct Key {
    kid: Option<Box<str>>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Hmac(hmac::Key),
    Rsa(signature::RsaPublicKeyComponents<Box<[u8]>>),
    P256(UnparsedPublicKey<Box<[u8]>>),
    Ed25519(UnparsedPublicKey<Box<[u8]>>),
}

/// Why something is no key. Says nothing of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has no `PUBLIC KEY` section.
    #[error("not a public key in PEM")]
    NotPem,
    /// The section cannot be read.
    #[error("the PEM holds no public key that can be read")]
    Unreadable,
    /// It is a key of something else.
    #[error("the key is not one for {}", .0.as_str())]
    OtherAlgorithm(Algorithm),
    /// An RSA key of another size.
    #[error("an RSA key has {min} to {max} bits, this one {0}", min = RSA_BITS.start(), max = RSA_BITS.end())]
    Bits(usize),
    /// Secrets do not come in PEM.
    #[error("{} has a secret, not a public key", .0.as_str())]
    Symmetric(Algorithm),
}

impl Key {
    /// A secret for HS256.
    #[must_use]
    pub fn from_secret(kid: &str, secret: &[u8]) -> Self {
        Self { kid: Some(kid.into()), material: Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret)) }
    }

    /// A public key in PEM (`-----BEGIN PUBLIC KEY-----`, RFC 7468, 13).
    ///
    /// # Errors
    /// When it is none, or none for the algorithm.
    pub fn from_pem(kid: &str, algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(|_| KeyError::Unreadable)?;
        let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Unreadable)?;
        let kind = info.algorithm.oid;
        let curve = || info.algorithm.parameters_oid().ok();
        let material = match algorithm {
            Algorithm::Hs256 => return Err(KeyError::Symmetric(algorithm)),
            Algorithm::Rs256 if kind == RSA => {
                let (modulus, exponent) = rsa_components(bytes).ok_or(KeyError::Unreadable)?;
                rsa(modulus, exponent)?
            }
            Algorithm::Es256 if kind == EC && curve() == Some(P256) => match bytes {
                [UNCOMPRESSED, coordinates @ ..] if coordinates.len() == 2 * COORDINATE_BYTES => p256(bytes),
                _ => return Err(KeyError::Unreadable),
            },
            Algorithm::EdDsa if kind == ED_25519 => match bytes.len() {
                COORDINATE_BYTES => ed25519(bytes),
                _ => return Err(KeyError::Unreadable),
            },
            Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa => return Err(KeyError::OtherAlgorithm(algorithm)),
        };
        Ok(Self { kid: Some(kid.into()), material })
    }

    /// An RSA key of its numbers, big endian.
    pub(super) fn from_rsa(kid: Option<Box<str>>, modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        Ok(Self { kid, material: rsa(modulus, exponent)? })
    }

    /// A key on P-256 of its coordinates.
    pub(super) fn from_p256(kid: Option<Box<str>>, x: &[u8; COORDINATE_BYTES], y: &[u8; COORDINATE_BYTES]) -> Self {
        Self { kid, material: p256(&[&[UNCOMPRESSED], &x[..], &y[..]].concat()) }
    }

    /// A key on Ed25519.
    pub(super) fn from_ed25519(kid: Option<Box<str>>, x: &[u8; COORDINATE_BYTES]) -> Self {
        Self { kid, material: ed25519(x) }
    }

    /// Its name, as tokens give it.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The one algorithm that it is for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Hmac(_) => Algorithm::Hs256,
            Material::Rsa(_) => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether this key signed the message. Secrets are compared in constant time.
    #[must_use]
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Rsa(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            Material::P256(key) | Material::Ed25519(key) => key.verify(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, A.1.1).
fn rsa_components(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let numbers = reader.sequence(|reader| -> spki::der::Result<_> {
        Ok((UintRef::decode(reader)?.as_bytes(), UintRef::decode(reader)?.as_bytes()))
    });
    numbers.ok()
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Material, KeyError> {
    let modulus = without_zeros(modulus);
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::Bits(bits));
    }
    let (n, e) = (modulus.into(), without_zeros(exponent).into());
    Ok(Material::Rsa(signature::RsaPublicKeyComponents { n, e }))
}

/// ring takes no numbers with zeros before them.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn p256(point: &[u8]) -> Material {
    Material::P256(UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.into()))
}

fn ed25519(point: &[u8]) -> Material {
    Material::Ed25519(UnparsedPublicKey::new(&ED25519, point.into()))
}
