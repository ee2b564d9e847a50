"""A newcomer's path through the smart POS, all by clicks in a browser: every kind of payment with its slip, what goes
wrong and how the terminal comes out of it. Pictures of every step are left in SHOTS.

    POSP=target/release/posp python3 -m unittest discover -s tests/browser
"""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

from terminal_page import Page, browser

POSP = os.environ.get("POSP", "target/release/posp")
SHOTS = pathlib.Path(os.environ.get("SHOTS", "target/shots"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SmartPos(unittest.TestCase):
    """One day at one shop; the tests run in their order, each on what the ones before left."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="posp-browser-")
        address = lambda: f"127.0.0.1:{free_port()}"
        names = ["--listen", "--ops", "--network", "--network-listener", "--page", "--terminals", "--front"]
        arguments = [part for name in names for part in (name, address())]
        cls.demo = subprocess.Popen(
            [POSP, "demo", "--quiet", "--announce", "--dir", f"{cls.dir}/demo", *arguments],
            stdout=subprocess.PIPE, text=True)
        line = cls.demo.stdout.readline()
        cls.addresses = json.loads(line)
        shutil.rmtree(SHOTS, ignore_errors=True)
        cls.driver = browser()
        cls.page = Page(cls.driver, cls.addresses["smart"], "20000001", SHOTS)

    @classmethod
    def tearDownClass(cls):
        cls.driver.quit()
        cls.demo.terminate()
        cls.demo.wait(timeout=30)
        cls.demo.stdout.close()
        shutil.rmtree(cls.dir, ignore_errors=True)

    def setUp(self):
        # A test that failed half way leaves its screen to nobody.
        if self.page.view() != "menu":
            self.page = type(self).page = Page(self.driver, self.addresses["smart"], "20000001", SHOTS, fresh=True)

    def tearDown(self):
        errors = [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        self.assertEqual([], errors, "the page has errors")

    def sell(self, fen, how, card, pin=None):
        self.page.do("sale")
        self.page.amount(fen)
        getattr(self.page, how)(card)
        if pin:
            self.page.pin(pin)
        return self.page.result()

    def approved(self, result):
        self.assertEqual(("approved", "00"), (result["outcome"], result["code"]), self.page.text())

    def test_01_a_chip_sale_with_pin(self):
        page = self.page
        page.shot("menu")
        page.do("sale")
        page.until("amount")
        page.keys("10000")
        page.shot("amount")
        page.do("ok")
        page.until("card")
        page.shot("card")
        page.insert("L01")
        page.until("pinpad")
        page.shot("pin")
        page.pin("123456")
        result = page.result()
        page.shot("approved")
        self.approved(result)
        slip = page.last_slip()
        for wanted in ("持卡人存根", "622424******0013", "插卡/I", "SALE", "RMB 100.00", result["ref"]):
            self.assertIn(wanted, slip)
        self.assertIn("0200", page.messages())
        page.click('.msg[data-mti="0200"] summary')
        page.shot("trace")
        self.assertNotIn("6224242000000013", self.driver.page_source)
        page.done()
        type(self).sold = result

    def test_02_a_void_with_a_supervisor(self):
        page = self.page
        page.do("void")
        page.until("original")
        page.fill(trace=self.sold["trace"])
        page.until("confirm_original")
        page.shot("void-this-one")
        page.do("yes")
        page.supervisor()
        result = page.result()
        page.shot("voided")
        self.approved(result)
        slip = page.last_slip()
        self.assertIn("VOID", slip)
        self.assertIn("RMB -100.00", slip)
        self.assertIn(f"原凭证号: {int(self.sold['trace']):06}", slip)
        page.done()

    def test_03_a_refund_by_swipe(self):
        page = self.page
        sold = self.sell(5_000, "swipe", "M01", "123456")
        self.approved(sold)
        slip = page.last_slip()
        date = re.search(r"日期时间: \d{4}/(\d\d)/(\d\d)", slip)
        page.done()
        page.do("refund")
        page.until("original")
        page.fill(reference=sold["ref"], date="".join(date.groups()))
        page.supervisor()
        page.amount(2_000)
        page.swipe("M01")
        result = page.result()
        page.shot("refunded")
        self.approved(result)
        self.assertIn("RMB -20.00", page.last_slip())
        page.done()

    def test_04_a_tap_without_pin_and_one_above_the_limit(self):
        page = self.page
        result = self.sell(8_800, "tap", "L01")
        page.shot("tapped")
        self.approved(result)
        self.assertIn("免密免签", page.last_slip())
        page.done()
        page.do("sale")
        page.amount(100_001)
        page.tap("L01")
        page.pin("123456")
        self.approved(page.result())
        page.done()
        self.approved(self.sell(100_001, "tap", "L13"))
        page.done()

    def test_05_a_pre_authorisation_its_completion_and_their_voids(self):
        page = self.page
        page.do("preauth")
        page.amount(30_000)
        page.insert("L02")
        page.pin("123456")
        held = page.result()
        page.shot("preauth")
        self.approved(held)
        slip = page.last_slip()
        date = "".join(re.search(r"日期时间: \d{4}/(\d\d)/(\d\d)", slip).groups())
        page.done()
        page.do("preauth_complete")
        page.fill(auth_code=held["auth"], date=date)
        page.amount(25_000)
        page.insert("L02")
        taken = page.result()
        page.shot("completed")
        self.approved(taken)
        page.done()
        page.do("preauth_complete_void")
        page.fill(trace=taken["trace"])
        page.until("confirm_original")
        page.do("yes")
        page.supervisor()
        self.approved(page.result())
        page.done()
        page.do("preauth_void")
        page.fill(auth_code=held["auth"], date=date)
        page.supervisor()
        page.amount(30_000)
        page.insert("L02")
        self.approved(page.result())
        page.shot("preauth-voided")
        page.done()

    def test_06_balance_instalment_offline_and_tip(self):
        page = self.page
        page.do("balance")
        page.insert("L02")
        page.pin("123456")
        result = page.result()
        page.shot("balance")
        self.approved(result)
        self.assertIn("¥", page.text())
        page.done()
        page.do("instalment")
        page.amount(120_000)
        page.until("periods")
        page.keys("12")
        page.do("ok")
        page.insert("L03")
        page.pin("654321")
        self.approved(page.result())
        self.assertIn("分期期数: 12", page.last_slip())
        page.done()
        sold = self.sell(10_000, "swipe", "M01", "123456")
        self.approved(sold)
        page.done()
        page.do("tip")
        page.fill(trace=sold["trace"])
        page.until("confirm_original")
        page.do("yes")
        page.amount(1_000)
        result = page.result()
        page.shot("tip")
        self.assertEqual("approved", result["outcome"])
        self.assertIn("小费", page.last_slip())
        page.done()

    def test_07_cards_that_do_not_pay(self):
        page = self.page
        result = self.sell(5_000, "insert", "L04", "123456")
        page.shot("no-money")
        self.assertEqual(("declined", "51"), (result["outcome"], result["code"]))
        page.done()
        result = self.sell(5_000, "insert", "L07", "123456")
        page.shot("card-declines")
        self.assertEqual("declined", result["outcome"])
        page.done()
        result = self.sell(5_000, "insert", "L02", "111111")
        self.assertEqual(("declined", "55"), (result["outcome"], result["code"]))
        page.done()
        self.approved(self.sell(5_000, "insert", "L02", "123456"))
        page.done()

    def test_08_a_card_that_refuses_and_one_that_is_pulled_are_reversed(self):
        page = self.page
        for card in ("L05", "L08"):
            result = self.sell(5_000, "insert", card, "123456")
            page.shot(f"{card}-reversed")
            self.assertEqual("declined", result["outcome"], page.text())
            self.assertEqual(["0410", "0400"], page.messages()[:2])
            page.done()

    def test_09_a_mute_chip_falls_back_to_its_stripe(self):
        page = self.page
        page.do("sale")
        page.amount(6_000)
        page.swipe("L09")
        page.wait(lambda _: "请插卡" in page.text(), "a swiped chip card is sent to the slot")
        page.shot("use-the-chip")
        for _ in range(3):
            page.insert("L09")
            page.wait(lambda d: d.find_elements("id", "sw-remove"), "the card is in")
            page.take_card()
            page.wait(lambda d: not d.find_elements("id", "sw-remove"), "the card is out")
            page.until("card")
        page.wait(lambda _: "降级" in page.text(), "the stripe is asked for")
        page.shot("fallback")
        page.swipe("L09")
        page.pin("123456")
        self.approved(page.result())
        self.assertIn("降级/F", page.last_slip())
        page.done()

    def test_10_a_lost_answer_is_reversed(self):
        page = self.page
        page.do("sale")
        page.amount(7_000)
        page.click("#sw-lose")
        page.insert("L02")
        page.pin("123456")
        result = page.result()
        page.shot("lost-answer-reversed")
        self.assertEqual("declined", result["outcome"], page.text())
        self.assertEqual(["0410", "0400"], page.messages()[:2])
        page.done()

    def test_11_without_a_network_nothing_is_sent(self):
        page = self.page
        page.click("#sw-net")
        page.do("sale")
        page.amount(7_000)
        view = page.until("card", "result", "trouble")
        if view == "card":
            page.insert("L02")
            page.pin("123456")
        result = page.result()
        page.shot("no-network")
        self.assertEqual("declined", result["outcome"])
        page.done()
        page.click("#sw-net")
        self.approved(self.sell(7_000, "insert", "L02", "123456"))
        page.done()

    def test_12_power_cut_while_the_host_is_asked(self):
        page = self.page
        page.do("sale")
        page.amount(9_000)
        page.click("#sw-lose")
        page.insert("L02")
        page.pin("123456")
        page.wait(lambda _: page.view() == "busy" and page.messages()[0] == "0200", "the request is out")
        page.click("#sw-power")
        page.wait(lambda d: d.find_elements("css selector", ".device.off"), "the terminal is dark")
        page.shot("dark")
        page.take_card()
        page.click("#sw-power")
        result = page.result()
        page.shot("reversed-after-the-start")
        self.assertEqual("declined", result["outcome"], page.text())
        self.assertEqual(["0410", "0400"], page.messages()[:2])
        page.done()

    def test_13_no_paper_in_the_middle(self):
        page = self.page
        page.click("#sw-paper")
        page.do("sale")
        page.amount(1_100)
        page.tap("L01")
        page.until("paper")
        page.shot("no-paper")
        page.click("#sw-paper")
        page.do("yes")
        self.approved(page.result())
        page.done()

    def test_14_the_batch_a_reprint_and_the_settlement(self):
        page = self.page
        page.do("list")
        page.until("list")
        page.shot("batch")
        page.click('#screen [data-do^="pick-"]')
        page.until("detail")
        page.do("yes")
        page.until("menu")
        self.assertIn("重打印凭证 第", page.last_slip())
        page.do("settle")
        page.until("confirm_settle")
        page.shot("settle-this")
        page.do("yes")
        page.until("told")
        page.shot("settled")
        slip = page.last_slip()
        self.assertIn("内卡对账: 平", slip)
        self.assertIn("结算总计单", slip)
        page.do("ok")
        page.until("menu")

    def test_15_points_and_what_the_chip_approves(self):
        page = self.page
        page.shot("menu-whole")
        page.do("points_sale")
        page.amount(3_000)
        page.until("points")
        page.shot("whose-points")
        page.do("points-alliance")
        page.insert("L01")
        page.pin("123456")
        self.approved(page.result())
        page.shot("points")
        self.assertIn("使用积分", page.last_slip())
        page.done()
        page.do("offline_chip")
        page.amount(10_001)
        page.wait(lambda _: "超过脱机限额" in page.text(), "the limit is told")
        page.shot("over-the-offline-limit")
        page.do("cancel")
        page.do("offline_chip")
        page.amount(1_500)
        page.insert("L01")
        result = page.result()
        page.shot("offline-chip")
        self.assertEqual("approved", result["outcome"], page.text())
        self.assertIn("交易类型: 脱机消费", page.last_slip())
        page.done()
        page.do("waiting")
        page.until("waiting")
        page.shot("waiting-to-go-up")
        self.assertIn("15.00", page.text())
        page.do("yes")
        page.until("told")
        page.shot("sent-now")
        page.do("ok")
        page.do("waiting")
        page.wait(lambda _: "没有待上送" in page.text(), "nothing waits any more")
        page.shot("nothing-waits")
        page.do("close")

    def test_16_a_keyed_number_and_a_code_by_telephone(self):
        page = self.page
        page.do("sale")
        page.amount(2_200)
        page.until("card")
        page.do("keyed")
        page.fill(pan="6224242000000121", expiry="2912")
        page.wait(lambda _: "有误" in page.text(), "a mistyped number is told")
        page.shot("mistyped")
        page.fill(pan="6224242000000120", expiry="2912")
        page.pin("123456")
        self.approved(page.result())
        page.shot("keyed")
        self.assertIn("手输/M", page.last_slip())
        self.assertNotIn("6224242000000120", self.driver.page_source)
        page.done()
        page.do("offline_sale")
        page.amount(30_000)
        page.until("voice")
        page.do("ok")
        page.wait(lambda _: "授权码为 6 位" in page.text(), "a code is needed above the limit")
        page.shot("code-by-telephone")
        page.fill(code="A1B2C3")
        page.swipe("M01")
        result = page.result()
        page.shot("offline-sale")
        self.assertEqual("approved", result["outcome"], page.text())
        self.assertIn("授权码: A1B2C3", page.last_slip())
        page.done()

    def test_17_the_purse_is_loaded_three_ways(self):
        page = self.page
        page.do("load")
        page.amount(5_000)
        page.until("card")
        page.shot("purse")
        page.insert("L01")
        page.pin("123456")
        self.approved(page.result())
        page.shot("loaded")
        page.done()
        page.do("transfer_load")
        page.amount(6_000)
        page.until("card")
        page.shot("card-that-pays")
        page.swipe("M01")
        page.pin("123456")
        page.until("card")
        page.wait(lambda _: "被充值的卡" in page.text(), "the purse's card is asked for")
        page.shot("card-that-is-loaded")
        page.insert("L02")
        self.approved(page.result())
        self.assertIn("转入卡号: 622424", page.last_slip())
        page.done()
        page.do("cash_load")
        page.amount(7_000)
        page.insert("L02")
        if page.until("pinpad", "remove_card", "sign", "tear", "result") == "pinpad":
            page.pin("123456")
        loaded = page.result()
        self.approved(loaded)
        page.done()
        # The void key finds out what kind it is.
        page.do("void")
        page.fill(trace=loaded["trace"])
        page.until("confirm_original")
        page.shot("void-of-a-cash-load")
        page.do("yes")
        page.supervisor()
        page.insert("L02")
        if page.until("pinpad", "remove_card", "sign", "tear", "result") == "pinpad":
            page.pin("123456")
        self.approved(page.result())
        page.shot("cash-load-voided")
        self.assertIn("现金充值撤销", page.last_slip())
        page.done()

    def test_18_a_signature_on_the_screen(self):
        page = self.page
        page.do("sale")
        page.amount(12_300)
        page.insert("L01")
        page.pin("123456")
        page.until("remove_card")
        page.take_card()
        page.until("sign")
        page.shot("sign-here")
        page.do("ok")
        page.wait(lambda _: "笔画太少" in page.text(), "an empty pad is no signature")
        page.sign()
        page.shot("signed")
        page.do("clear")
        page.sign()
        page.hand_in()
        self.approved(page.result())
        self.assertIn("持卡人存根", page.last_slip())
        page.click("#paper img")
        page.shot("slip")
        page.click("#slipclose")
        page.done()
        page.do("reprint")
        page.until("menu")
        self.assertIn("[图]", page.last_slip(), "the reprint has the signature")
        page.click("#paper img")
        page.wait(lambda d: d.find_element("id", "slipimg").get_property("complete"), "the slip is drawn")
        page.shot("slip-with-signature")
        page.click("#slipclose")
        page.do("waiting")
        page.until("waiting")
        self.assertIn("电子签名", page.text())
        page.shot("signature-waits")
        page.do("yes")
        page.until("told")
        page.do("ok")
        self.assertIn("0820", page.messages())

    def test_19_a_slip_before_the_scanner(self):
        page = self.page
        sold = self.sell(4_400, "insert", "L01", "123456")
        self.approved(sold)
        code = page.code()
        page.done()
        page.do("void")
        page.until("original")
        page.shot("key-or-scan")
        page.do("scan")
        page.until("scan")
        page.shot("scanner")
        page.do("camera")
        page.wait(lambda _: "此浏览器不能用摄像头" in page.text() or "摄像头打不开" in page.text(), "no camera here")
        page.shot("no-camera")
        page.scan("https://example.com/not-a-slip")
        page.wait(lambda _: "不是签购单上的码" in page.text(), "another code is told apart")
        page.shot("not-a-slip")
        page.do("scan")
        page.scan(code.replace("T20000001", "T20000002"))
        page.wait(lambda _: "不能用于此交易" in page.text(), "another terminal's slip is told apart")
        page.do("scan")
        page.scan(code)
        page.until("confirm_original")
        self.assertIn("¥44.00", page.text())
        page.do("no")
        page.until("menu")
        # From the menu: what can be done with it.
        page.do("scan")
        page.scan(code)
        page.until("detail")
        page.shot("what-can-be-done")
        page.do("offer-refund")
        page.supervisor()
        page.amount(1_100)
        page.insert("L01")
        self.approved(page.result())
        self.assertIn(f"原参考号: {sold['ref']}", page.last_slip())
        page.done()
        # A chip refund, by the paper itself.
        sold = self.sell(3_300, "insert", "L01", "123456")
        self.approved(sold)
        page.do("ok")
        page.until("menu")
        page.do("chip_refund")
        page.do("scan")
        page.until("scan")
        page.click("#paper img")
        page.click("#slipscan")
        page.supervisor()
        page.amount(3_300)
        page.insert("L01")
        result = page.result()
        page.shot("chip-refund")
        self.approved(result)
        self.assertIn("脱机退货", page.last_slip())
        page.done()

    def test_20_a_second_terminal_english_and_a_phone(self):
        self.driver.set_window_size(390, 844)
        page = Page(self.driver, self.addresses["smart"], "20000002", SHOTS)
        page.count = 160
        page.click("#lang")
        page.wait(lambda _: "Sale" in page.text(), "the screen is English")
        page.shot("phone")
        page.do("sale")
        page.amount(12_345)
        page.tap("L13")
        self.approved(page.result())
        page.shot("phone-approved")
        page.done()
        for trade in ("points_sale", "offline_sale", "transfer_load"):
            page.do(trade)
            page.amount(2_000)
            page.wait(lambda _: page.view() not in ("amount", "busy"), "it goes on")
            page.shot(f"phone-{trade}")
            page.do("cancel")
            if page.until("menu", "result") == "result":
                page.done()
        page.do("scan")
        page.until("scan")
        page.shot("phone-scan")
        page.do("cancel")
        page.until("menu")
        page.do("sale")
        page.amount(123_456)
        page.insert("L03")
        page.pin("654321")
        page.until("remove_card")
        page.take_card()
        page.sign()
        page.shot("phone-sign")
        page.hand_in()
        self.approved(page.result())
        page.done()
        width = self.driver.execute_script("return document.documentElement.scrollWidth")
        self.assertLessEqual(width, 410, "the page is wider than the phone")

    def test_21_a_shop_app_is_killed_in_the_middle_and_finds_its_payment(self):
        self.driver.set_window_size(1400, 1050)
        page = Page(self.driver, self.addresses["smart"], "20000001", SHOTS)
        page.count = 190
        terminal = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        shop = self.driver.current_window_handle
        self.driver.get(f"http://{self.addresses['smart']}/shop")
        self.driver.execute_script("localStorage.setItem('shop.terminal', '20000001')")
        self.driver.refresh()
        page.click("[data-good]")
        page.click("#pay")
        page.click("#kill")
        page.wait(lambda d: d.find_elements("id", "restart"), "the shop is dead")
        self.driver.switch_to.window(terminal)
        page.tap("L01")
        # The shop shows the result and prints for itself.
        page.until("menu")
        self.driver.switch_to.window(shop)
        page.click("#restart")
        page.wait(
            lambda d: d.find_elements("css selector", '#outcome[data-outcome="approved"]'),
            "the shop finds its payment")
        page.shot("shop")
        self.driver.close()
        self.driver.switch_to.window(terminal)


if __name__ == "__main__":
    unittest.main(verbosity=2)
