#!/usr/bin/env python3
"""pki.py -- a throw-away PKI for tests and the demo, made with openssl(1) and nothing else.

    root CA -> issuing CA -> gateway and agents

A gateway's certificate carries the SAN URI zonerelay:gateway/<zone> and its names, an agent's
zonerelay:agent/<id>. In the folder afterwards:

    ca.pem                   root and issuing CA: what both sides are told to trust
    crl.pem                  the revocation lists of both
    gateway.pem, gateway.key the gateway's certificate with its issuer, and key
    agent-<id>.pem, .key     each agent's
    receipts.pem, .key       certificate and key that sign custody receipts
    private/                 the CAs' own keys, data base and requests

The keys have no passphrase: nothing made here is fit for anything but tests.

From Python:  pki = make_pki(folder, agents=["e1", "e2"]); pki.revoke("agent-e1")
By hand:      pki.py FOLDER --zone north --agent e1 --agent e2
"""
import argparse
import datetime
import pathlib
import subprocess

SM2_ID = "1234567812345678"

# How keys are made and what signs with them, per algorithm.
ALGORITHMS = {
    "p256": {"key": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "digest": "sha256"},
    "ed25519": {"key": ["-algorithm", "ED25519"], "digest": "null"},
    "sm2": {"key": ["-algorithm", "SM2"], "digest": "sm3"},
}

CA_SECTION = """
[ {name} ]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
crlnumber = {folder}/crlnumber
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = {digest}
default_crl_days = 30
policy = any_name
unique_subject = no
copy_extensions = none
crl_extensions = crl
"""

CONFIG = """
[ any_name ]
C = optional
ST = optional
O = optional
OU = optional
CN = supplied
[ crl ]
authorityKeyIdentifier = keyid:always
[ request ]
distinguished_name = nothing
[ nothing ]
[ extensions ]
{extensions}
"""

LEAF = ("basicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "subjectKeyIdentifier = hash\n"
        "authorityKeyIdentifier = keyid\n")
ISSUER = ("basicConstraints = critical, CA:TRUE\n"
          "keyUsage = critical, keyCertSign, cRLSign\n"
          "subjectKeyIdentifier = hash\n")


def stamp(moment):
    """A moment as openssl ca wants it."""
    return moment.strftime("%Y%m%d%H%M%SZ")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def run(*words):
    try:
        subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=60)
    except subprocess.CalledProcessError as failure:
        raise RuntimeError(f"{' '.join(map(str, words))}: {failure.stderr.decode()}") from failure


class Authority:
    """One CA: a key, a certificate, and the data base that openssl ca keeps."""

    def __init__(self, folder, name, algorithm="p256", issuer=None, start=None, end=None):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.algorithm = algorithm
        self.folder.mkdir(parents=True)
        (self.folder / "index.txt").touch()
        (self.folder / "serial").write_text("1000\n")
        (self.folder / "crlnumber").write_text("01\n")
        self.certificate = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        start = start or now() - datetime.timedelta(days=1)
        end = end or now() + datetime.timedelta(days=3650)
        self.make_key(self.key)
        (issuer or self).sign(self.key, self.certificate, f"/O=zonerelay test/CN={name}", ISSUER,
                              start, end, self_signed=issuer is None)
        self.crl = self.folder / "crl.pem"
        self.write_crl()

    def make_key(self, path):
        run("openssl", "genpkey", *ALGORITHMS[self.algorithm]["key"], "-out", path)
        path.chmod(0o600)

    def config(self, extensions=""):
        path = self.folder / "openssl.cnf"
        digest = ALGORITHMS[self.algorithm]["digest"]
        text = CA_SECTION.format(name="this", folder=self.folder, digest=digest)
        path.write_text(text + CONFIG.format(extensions=extensions))
        return path

    def signing(self):
        """Words that make a signature of this CA's algorithm."""
        words = ["-md", ALGORITHMS[self.algorithm]["digest"]]
        return words + (["-sigopt", f"distid:{SM2_ID}"] if self.algorithm == "sm2" else [])

    def sign(self, key, certificate, subject, extensions, start, end, self_signed=False):
        """Writes a certificate over the public half of key."""
        config = self.config(extensions)
        request = certificate.with_suffix(".csr")
        words = ["openssl", "req", "-new", "-config", config, "-key", key, "-subj", subject,
                 "-utf8", "-out", request]
        # A request is signed with its own key, which need not be of the CA's algorithm.
        probe = subprocess.run(["openssl", "pkey", "-in", str(key), "-noout", "-text"], check=True,
                               capture_output=True, text=True, timeout=60).stdout
        is_sm2 = "SM2" in probe
        run(*words, *(["-sm3", "-sigopt", f"distid:{SM2_ID}"] if is_sm2 else []))
        run("openssl", "ca", "-batch", "-notext", "-utf8", "-config", config, "-name", "this",
            "-in", request, "-out", certificate, "-extensions", "extensions",
            "-startdate", stamp(start), "-enddate", stamp(end), *self.signing(),
            *(["-vfyopt", f"distid:{SM2_ID}"] if is_sm2 else []),
            *(["-selfsign", "-keyfile", key] if self_signed else []))

    def revoke(self, certificate):
        run("openssl", "ca", "-config", self.config(), "-name", "this", "-revoke", certificate,
            "-crl_reason", "keyCompromise", *self.signing())
        self.write_crl()

    def write_crl(self, last_update=None, next_update=None):
        last_update = last_update or now() - datetime.timedelta(days=1)
        next_update = next_update or now() + datetime.timedelta(days=30)
        run("openssl", "ca", "-config", self.config(), "-name", "this", "-gencrl", "-out", self.crl,
            "-crl_lastupdate", stamp(last_update), "-crl_nextupdate", stamp(next_update),
            *self.signing())


class Pki:
    """A root, an issuing CA, and what they signed; see the top of this file."""

    def __init__(self, folder, zone="demo", algorithm="p256"):
        self.folder = pathlib.Path(folder)
        self.zone = zone
        private = self.folder / "private"
        self.root = Authority(private / "root", f"{zone} root", algorithm)
        self.issuing = Authority(private / "issuing", f"{zone} issuing", algorithm, self.root)
        self.ca = self.folder / "ca.pem"
        self.ca.write_text(self.root.certificate.read_text() + self.issuing.certificate.read_text())
        self.crl = self.folder / "crl.pem"
        self.join_crls()

    def join_crls(self):
        """Written whole and renamed, as a running program may read it at any moment."""
        partial = self.crl.with_suffix(".part")
        partial.write_text(self.root.crl.read_text() + self.issuing.crl.read_text())
        partial.rename(self.crl)

    def certificate(self, name):
        return self.folder / f"{name}.pem"

    def key(self, name):
        return self.folder / f"{name}.key"

    def issue(self, name, subject, alternative_names, usage, start=None, end=None):
        """Makes a key and a certificate, followed by its issuer's, and gives their paths."""
        key = self.key(name)
        leaf = self.folder / "private" / f"{name}.pem"
        extensions = LEAF
        if usage:
            extensions += f"extendedKeyUsage = {usage}\n"
        if alternative_names:
            extensions += f"subjectAltName = {alternative_names}\n"
        self.issuing.make_key(key)
        self.issuing.sign(key, leaf, subject, extensions,
                          start or now() - datetime.timedelta(days=1),
                          end or now() + datetime.timedelta(days=365))
        text = leaf.read_text() + self.issuing.certificate.read_text()
        self.certificate(name).write_text(text)
        return self.certificate(name), key

    def issue_agent(self, agent, name=None, start=None, end=None):
        return self.issue(name or f"agent-{agent}", f"/O={self.zone}/CN={agent}",
                          f"URI:zonerelay:agent/{agent}", "clientAuth", start, end)

    def issue_gateway(self, name="gateway", names=("DNS:localhost", "IP:127.0.0.1", "IP:::1"),
                      start=None, end=None):
        alternative_names = ", ".join([f"URI:zonerelay:gateway/{self.zone}", *names])
        return self.issue(name, f"/O={self.zone}/CN=gateway of {self.zone}", alternative_names,
                          "serverAuth, clientAuth", start, end)

    def issue_receipts(self, name="receipts"):
        """The key that signs custody receipts: no TLS with it."""
        return self.issue(name, f"/O={self.zone}/CN=receipts of {self.zone}",
                          f"URI:zonerelay:receipts/{self.zone}", None)

    def revoke(self, name):
        """Puts the certificate onto the issuing CA's list; crl.pem is new afterwards."""
        self.issuing.revoke(self.folder / "private" / f"{name}.pem")
        self.join_crls()

    def issue_variants(self, agent="odd"):
        """One of everything that must be refused, beside a good one: agent-<variant>."""
        day = datetime.timedelta(days=1)
        self.issue_agent(agent, "agent-expired", now() - 10 * day, now() - day)
        self.issue_agent(agent, "agent-early", now() + day, now() + 10 * day)
        self.issue_agent(agent, "agent-revoked")
        self.revoke("agent-revoked")
        self.issue("agent-nameless", f"/O={self.zone}/CN=nameless", None, "clientAuth")
        self.issue("agent-server", f"/O={self.zone}/CN=server", f"URI:zonerelay:agent/{agent}",
                   "serverAuth")


def make_pki(folder, agents=(), zone="demo", algorithm="p256", variants=False):
    """A whole PKI in a folder that is empty or does not exist."""
    pki = Pki(folder, zone, algorithm)
    pki.issue_gateway()
    pki.issue_receipts()
    for agent in agents:
        pki.issue_agent(agent)
    if variants:
        pki.issue_variants()
    return pki


def main():
    parser = argparse.ArgumentParser(description="make a throw-away PKI")
    parser.add_argument("folder")
    parser.add_argument("--zone", default="demo")
    parser.add_argument("--agent", action="append", default=[], help="an agent's id; repeatable")
    parser.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="p256")
    parser.add_argument("--variants", action="store_true", help="also what must be refused")
    given = parser.parse_args()
    make_pki(given.folder, given.agent, given.zone, given.algorithm, given.variants)


if __name__ == "__main__":
    main()
