"""Keys and certificates that live as long as a test."""

import subprocess


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Certificates:
    """
    In directory: ca.pem; server.pem and server.key for the names given; client.pem (certificate
    and key in one file, as MongoDB wants it) of the same CA.
    """

    def __init__(self, directory, names="IP:127.0.0.1,DNS:localhost"):
        self.directory = directory
        directory.mkdir()
        self.make("ca", ["-x509", "-addext", "basicConstraints=critical,CA:true"])
        self.sign("server", [f"subjectAltName={names}", "extendedKeyUsage=serverAuth"])
        self.sign("client", ["extendedKeyUsage=clientAuth"])
        with self.path("client.pem").open("a") as both:
            both.write(self.path("client.key").read_text())

    def path(self, name):
        return self.directory / name

    def make(self, name, options, suffix="pem"):
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/O=Memory Tracker tests/CN={name}", "-keyout", self.path(f"{name}.key"),
                "-out", self.path(f"{name}.{suffix}"), *options)

    def sign(self, name, extensions):
        self.make(name, [], "csr")
        self.path(f"{name}.ext").write_text("".join(line + "\n" for line in extensions))
        openssl("x509", "-req", "-in", self.path(f"{name}.csr"), "-days", "2",
                "-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"), "-CAcreateserial",
                "-extfile", self.path(f"{name}.ext"), "-out", self.path(f"{name}.pem"))
