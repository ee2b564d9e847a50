"""A phone and its card reader by clicks: pairing by the label, a sale by chip with the PIN on the reader, by stripe, by tap, a
void, the link cut and mended, the settlement. Pictures are left in SHOTS.

    POSP=target/release/posp python3 -m unittest discover -s tests/browser -k Mpos
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from selenium.webdriver.common.by import By

from terminal_page import Page, browser
from test_smart_pos import POSP, free_port

SHOTS = pathlib.Path(os.environ.get("SHOTS", "target/shots")) / "mpos"
PHONE = "20000003"
# Whole card numbers; on the page they have stars in the middle.
NUMBER = re.compile(r"\b62242420000\d{5}\b")


class Phone(Page):
    """The page with a phone and its reader chosen."""

    def until(self, *views):
        # A phone out of its box pairs first.
        return super().until(*views, *(("pairing",) if views == ("menu", "login") else ()))

    def reader_pin(self, pin):
        """Types a PIN on the reader, wherever its digits stand, and confirms."""
        self.until("pin")
        for digit in pin:
            self.click(f'#reader [data-pin="{digit}"]')
        self.click('#reader [data-do="pin-ok"]:not([disabled])')

    def display(self):
        return self.driver.find_element(By.ID, "rdisplay").text


class Mpos(unittest.TestCase):
    """One day with a phone; the tests run in their order, each on what the ones before left."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="posp-mpos-")
        address = lambda: f"127.0.0.1:{free_port()}"
        names = ["--listen", "--ops", "--network", "--network-listener", "--page", "--terminals", "--front"]
        arguments = [part for name in names for part in (name, address())]
        cls.demo = subprocess.Popen(
            [POSP, "demo", "--quiet", "--announce", "--dir", f"{cls.dir}/demo", *arguments],
            stdout=subprocess.PIPE, text=True)
        cls.addresses = json.loads(cls.demo.stdout.readline())
        shutil.rmtree(SHOTS, ignore_errors=True)
        cls.driver = browser(height=1250)
        cls.page = Phone(cls.driver, cls.addresses["smart"], PHONE, SHOTS)

    @classmethod
    def tearDownClass(cls):
        cls.driver.quit()
        cls.demo.terminate()
        cls.demo.wait(timeout=30)
        cls.demo.stdout.close()
        shutil.rmtree(cls.dir, ignore_errors=True)

    def tearDown(self):
        errors = [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        self.assertEqual([], errors, "the page has errors")
        self.assertIsNone(NUMBER.search(self.driver.find_element(By.TAG_NAME, "body").text), "a whole card number is shown")

    def approved(self, result):
        self.assertEqual(("approved", "00"), (result["outcome"], result["code"]), self.page.text())

    def test_01_the_phone_pairs_by_the_label(self):
        page = self.page
        page.until("pairing")
        page.shot("pairing")
        page.click('#screen [data-do="scan"]')
        page.do("ok")
        page.until("menu")
        page.wait(lambda d: d.find_element(By.ID, "rlink").get_attribute("class") == "ok", "the link is not up")
        page.shot("menu")

    def test_02_a_chip_with_its_pin_on_the_reader(self):
        page = self.page
        page.do("sale")
        page.amount(12_345)
        page.shot("card")
        page.insert("L01")
        page.until("pin")
        page.wait(lambda _: "123.45" in page.display(), "the reader does not show the amount")
        page.shot("pin")
        page.reader_pin("123456")
        self.approved(page.result())
        page.shot("approved")
        page.done()
        slip = page.last_slip()
        self.assertIn("622424******0013", slip)
        self.assertIsNone(NUMBER.search(slip))

    def test_03_stripe_and_tap(self):
        page = self.page
        page.do("sale")
        page.amount(2_000)
        page.swipe("M01")
        page.reader_pin("123456")
        self.approved(page.result())
        page.done()
        page.do("sale")
        page.amount(990)
        page.tap("L01")
        tapped = page.result()
        self.approved(tapped)
        page.done()
        # By its voucher number alone: neither the phone nor the message has the card.
        page.do("void")
        page.until("original")
        page.fill(trace=tapped["trace"])
        page.until("confirm_original")
        page.do("yes")
        page.supervisor()
        self.approved(page.result())
        page.done()

    def test_04_the_link_goes_and_comes_back(self):
        page = self.page
        page.click("#sw-link")
        page.wait(lambda d: d.find_element(By.ID, "rlink").get_attribute("class") == "no", "the link is still up")
        page.do("sale")
        page.amount(500)
        self.assertEqual("declined", page.result()["outcome"])
        page.shot("no-reader")
        page.done()
        page.click("#sw-link")
        page.do("sale")
        page.amount(500)
        page.insert("L01")
        page.reader_pin("123456")
        self.approved(page.result())
        page.done()

    def test_05_a_lost_answer_is_reversed(self):
        page = self.page
        page.do("sale")
        page.amount(700)
        # What the last chip's commands did has been told by now.
        page.until("card")
        page.click("#sw-lose")
        page.insert("L01")
        page.reader_pin("123456")
        self.assertEqual("declined", page.result()["outcome"])
        page.done()
        self.assertIn("0400", page.messages())

    def test_06_the_day_is_settled(self):
        page = self.page
        page.do("settle")
        page.until("confirm_settle")
        page.shot("settle")
        page.do("yes")
        page.until("told")
        told = self.driver.find_element(By.ID, "told")
        self.assertIn(told.get_attribute("data-status"), ("approved", ""), page.text())
        page.shot("settled")
        page.do("ok")
        page.until("menu")
        self.driver.execute_script("document.querySelector('#lang').click()")
        page.shot("english")
        self.driver.execute_script("document.querySelector('#lang').click()")
        # On a phone's own screen.
        self.driver.set_window_size(390, 1500)
        page.shot("narrow")
        self.driver.set_window_size(1400, 1250)


if __name__ == "__main__":
    unittest.main()
