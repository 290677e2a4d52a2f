"""Drives a real server, with real sandboxes, through the published Python client, unchanged.

Run by `cargo xtask test`, which installs the client from PyPI and names the server's binary in
STACYVM_BIN. Every method of the client that the server answers is called at least once.
"""

import asyncio
import os
import re
import subprocess
import tempfile
import unittest
import urllib.request

from stacyvm import AsyncClient, Client
from stacyvm.exceptions import SandboxNotFound, StacyVMError
from stacyvm.providers import ProviderManager

KEY = "a-key-for-this-test-alone"


class Server:
    """`stacyvm serve` on a free port with its own state directory."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="stacyvm-python-")
        environment = dict(os.environ, STACYVM_AUTH_API_KEY=KEY, HOME=self.directory.name)
        self.log = open(os.path.join(self.directory.name, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                os.environ["STACYVM_BIN"],
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
                os.path.join(self.directory.name, "data"),
            ],
            cwd=self.directory.name,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stderr:
            self.log.write(line)
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                self.url = found.group(1)
                break
        else:
            raise RuntimeError("the server ended before it listened: " + self.text())
        # What the server says from here on is of no interest, but must not fill the pipe.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=self.log)

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=60)
        self.process.stderr.close()
        self.drain.wait(timeout=60)
        self.log.close()
        self.directory.cleanup()


class PublishedClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = Client(cls.server.url, api_key=KEY, user_id="tester")

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def spawn(self, **options):
        sandbox = self.client.spawn(image="host", ttl="5m", **options)
        self.addCleanup(sandbox.destroy)
        return sandbox

    def test_a_sandbox_lives_from_spawn_to_destroy(self):
        sandbox = self.spawn(memory_mb=256, vcpus=1, metadata={"purpose": "test"})
        self.assertRegex(sandbox.id, r"^sb-")
        self.assertEqual(
            (sandbox.state, sandbox.provider, sandbox.image), ("running", "native", "host")
        )
        listed = {item.id: item for item in self.client.list()}
        self.assertEqual(listed[sandbox.id].metadata, {"purpose": "test"})
        self.assertEqual(listed[sandbox.id].memory_mb, 256)
        self.assertEqual(self.client.get(sandbox.id).state, "running")
        sandbox.destroy()
        self.assertNotIn(sandbox.id, [item.id for item in self.client.list()])
        with self.assertRaises(SandboxNotFound):
            self.client.get(sandbox.id)

    def test_exec_returns_what_the_program_did(self):
        sandbox = self.spawn()
        result = sandbox.exec("echo out; echo err >&2; exit 3")
        self.assertEqual((result.exit_code, result.stdout, result.stderr), (3, "out\n", "err\n"))
        self.assertRegex(result.duration, r"^[0-9.]+(µs|ms|s)$")
        result = sandbox.exec("printf '%s|'", args=["a b", "c'd", "$HOME"])
        self.assertEqual(result.stdout, "a b|c'd|$HOME|")
        result = sandbox.exec(
            "python3",
            args=["-c", "import os; print(os.environ['WHO'], os.getcwd())"],
            mode="argv",
            env={"WHO": "me"},
            workdir="/tmp",
        )
        self.assertEqual(result.stdout, "me /tmp\n")

    def test_exec_says_when_time_ran_out(self):
        sandbox = self.spawn()
        with self.assertRaises(StacyVMError) as caught:
            sandbox.exec("sleep 60", timeout="200ms")
        self.assertEqual(caught.exception.code, "TIMEOUT")
        self.assertEqual(sandbox.exec("pgrep -c sleep").stdout, "0\n")

    def test_a_stream_arrives_in_order_and_ends(self):
        sandbox = self.spawn()
        chunks = list(sandbox.exec_stream("echo one; echo two; echo oops >&2"))
        text = "".join(chunk.data for chunk in chunks if chunk.stream == "stdout")
        errors = "".join(chunk.data for chunk in chunks if chunk.stream == "stderr")
        self.assertEqual((text, errors), ("one\ntwo\n", "oops\n"))
        self.assertEqual(chunks[-1].stream, "exit")

    def test_every_file_method_works(self):
        sandbox = self.spawn()
        sandbox.write_file("/workspace/deep/a.txt", "grüße\n")
        self.assertEqual(sandbox.read_file("/workspace/deep/a.txt"), "grüße\n")
        sandbox.write_file("/workspace/run.sh", "#!/bin/sh\necho ran\n", mode="0755")
        self.assertEqual(sandbox.exec("/workspace/run.sh").stdout, "ran\n")
        listed = {item["path"]: item for item in sandbox.list_files("/workspace")}
        self.assertEqual(sorted(listed), ["/workspace/deep", "/workspace/run.sh"])
        self.assertTrue(listed["/workspace/deep"]["is_dir"])
        self.assertEqual(listed["/workspace/run.sh"]["name"], "run.sh")
        self.assertEqual(listed["/workspace/run.sh"]["mode"], "0755")
        sandbox.move_file("/workspace/deep/a.txt", "/workspace/b.txt")
        sandbox.chmod_file("/workspace/b.txt", "0600")
        stat = sandbox.stat_file("/workspace/b.txt")
        self.assertEqual((stat["size"], stat["mode"]), (8, "0600"))
        self.assertEqual(sandbox.glob_files("/workspace/*.txt"), ["/workspace/b.txt"])
        sandbox.delete_file("/workspace/b.txt")
        sandbox.delete_file("/workspace/deep", recursive=True)
        self.assertEqual(sandbox.glob_files("/workspace/*"), ["/workspace/run.sh"])
        with self.assertRaises(StacyVMError):
            sandbox.read_file("/workspace/b.txt")

    def test_time_to_live_is_extended_and_prune_leaves_the_living(self):
        sandbox = self.spawn()
        before = sandbox._info["expires_at"]
        sandbox.extend_ttl("1h")
        self.assertGreater(sandbox._info["expires_at"], before)
        sandbox.refresh()
        self.assertEqual(self.client.prune(), 0)
        self.assertEqual(sandbox.exec("true").exit_code, 0)

    def test_a_preview_url_shows_a_port_inside(self):
        sandbox = self.spawn()
        sandbox.write_file("/workspace/index.html", "hello from inside")
        sandbox.exec("setsid python3 -m http.server 3000 >/dev/null 2>&1 & for i in $(seq 100); do"
                     " python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 3000))'"
                     " 2>/dev/null && exit; done; exit 1")
        url = sandbox.get_preview_url(3000)
        host = url.removeprefix("http://")
        port = self.server.url.rsplit(":", 1)[1]
        self.assertTrue(host.endswith(f".localhost:{port}"), url)
        # Not every resolver knows names beneath localhost, so the name goes in the header.
        request = urllib.request.Request(
            self.server.url + "/index.html", headers={"Host": host, "X-API-Key": KEY}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.assertEqual(answer.read(), b"hello from inside")

    def test_the_server_describes_itself(self):
        self.assertEqual(self.client.health()["status"], "ok")
        names = [provider["name"] for provider in self.client.providers()]
        self.assertIn("native", names)
        self.assertEqual(ProviderManager(self.client._http).test()["native"], True)
        self.assertEqual(self.client.pool_status(), {"enabled": False})
        self.assertEqual(self.client.quota_summary().total, 0)
        admission = self.client.admission(image="host", ttl="5m")
        self.assertTrue(admission.allowed)
        self.assertFalse(self.client.admission(image="host", ttl="999h").allowed)

    def test_errors_are_the_clients_own(self):
        with self.assertRaises(SandboxNotFound):
            self.client.get("sb-nosuch")
        with self.assertRaises(StacyVMError) as caught:
            self.client.spawn(image="host", ttl="-5m")
        self.assertEqual(caught.exception.code, "BAD_REQUEST")
        with self.assertRaises(StacyVMError) as caught:
            Client(self.server.url, api_key="wrong").list()
        self.assertEqual(caught.exception.code, "UNAUTHORIZED")

    def test_the_context_managers_destroy(self):
        with Client(self.server.url, api_key=KEY) as client:
            with client.spawn(image="host", ttl="5m") as sandbox:
                self.assertEqual(sandbox.exec("echo hi").stdout, "hi\n")
        self.assertNotIn(sandbox.id, [item.id for item in self.client.list()])

    def test_the_asynchronous_client_does_the_same(self):
        async def life():
            async with AsyncClient(self.server.url, api_key=KEY) as client:
                async with await client.spawn(image="host", ttl="5m") as sandbox:
                    await sandbox.write_file("/workspace/x", "1")
                    results = await asyncio.gather(*(sandbox.exec(f"echo {n}") for n in range(8)))
                    text = [chunk.data async for chunk in sandbox.exec_stream("cat x")]
                    return [result.stdout for result in results], "".join(text)

        outputs, text = asyncio.run(life())
        self.assertEqual(outputs, [f"{n}\n" for n in range(8)])
        self.assertEqual(text, "1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
