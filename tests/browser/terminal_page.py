"""A smart POS worked by clicks: what a person does at the page, in words."""

import pathlib
import re

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 30


def browser(width=1400, height=1050):
    """A Chromium without a window."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


class Page:
    """The page with one of its terminals chosen."""

    def __init__(self, driver, address, terminal, shots, fresh=False):
        self.driver, self.shots, self.count = driver, pathlib.Path(shots), 0
        self.shots.mkdir(parents=True, exist_ok=True)
        driver.get(f"http://{address}/#{terminal}")
        driver.execute_script("localStorage.setItem('language', 'zh')")
        driver.refresh()
        if fresh:
            # Whatever it was doing: pull the plug, and start again, once the page knows which terminal is meant.
            self.wait(lambda d: d.execute_script("return state.id"), "no terminal is chosen")
            script = """
                const done = arguments[arguments.length - 1];
                const power = (on) => hand({ act: "power", on });
                power(false).then(() => hand({ act: "remove" })).then(() => power(true)).then(done);
            """
            driver.execute_async_script(script)
        self.until("menu", "login")

    def wait(self, condition, what):
        try:
            return WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException, ElementClickInterceptedException, ElementNotInteractableException]).until(condition)
        except TimeoutException:
            self.shot("failed")
            shown = self.driver.find_element(By.TAG_NAME, "body").text
            raise AssertionError(f"{what}; the page shows: {shown[:1_500]}") from None

    def view(self):
        return self.driver.find_element(By.ID, "screen").get_attribute("data-view")

    def text(self):
        return self.driver.find_element(By.ID, "screen").text

    def until(self, *views):
        """Waits for one of these screens; which."""
        return self.wait(lambda _: self.view() if self.view() in views else None, f"none of {views} came")

    def click(self, selector):
        """A real click, which something that covers the button would catch."""
        def press(driver):
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            if not found:
                return False
            driver.execute_script("arguments[0].scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' })", found[0])
            found[0].click()
            return True
        self.wait(press, f"{selector} cannot be clicked")

    def shot(self, name):
        """A picture of the page."""
        self.count += 1
        self.driver.save_screenshot(str(self.shots / f"{self.count:03}-{name}.png"))

    def do(self, name):
        self.click(f'#screen [data-do="{name}"]')

    def keys(self, digits):
        for digit in digits:
            self.click(f'#screen [data-key="{digit}"]')

    def amount(self, fen):
        self.until("amount")
        self.keys(str(fen))
        self.do("ok")

    def pin(self, pin):
        """Types a PIN on the pad, wherever its digits stand, and confirms."""
        self.until("pinpad")
        for digit in pin:
            self.click(f'#screen [data-pin="{digit}"]')
        self.do("pin-ok")

    def fill(self, **fields):
        for name, value in fields.items():
            field = self.wait(lambda d: d.find_elements(By.ID, f"f-{name}"), f"no field {name}")[0]
            field.clear()
            field.send_keys(value)
        self.do("ok")

    def supervisor(self):
        self.until("supervisor")
        self.fill(operator="99", password="12345678")

    def insert(self, card):
        self.until("card")
        self.click(f'[data-act="insert-{card}"]')

    def tap(self, card):
        self.until("card")
        self.click(f'[data-act="tap-{card}"]')

    def swipe(self, card):
        self.until("card")
        self.click(f'[data-act="swipe-{card}"]')

    def sign(self):
        """Draws a name on the pad."""
        self.until("sign")
        pad = self.wait(lambda d: d.find_elements(By.ID, "signpad"), "no pad")[0]
        pen = ActionChains(self.driver, duration=5)
        pen.move_to_element_with_offset(pad, -90, 10).click_and_hold()
        for x, y in ((30, -30), (20, 40), (30, -45), (25, 40), (30, -20), (30, 15)):
            pen.move_by_offset(x, y)
        pen.release().perform()

    def hand_in(self):
        """Confirms what was drawn."""
        self.do("ok")
        self.wait(lambda _: self.view() != "sign", "the signature is not taken")

    def code(self):
        """The code on the newest slip, as a scanner reads it."""
        return re.search(r"POSP1/[A-Z0-9/]+", re.sub(r"\s+", "", self.last_slip())).group(0)

    def scan(self, code):
        """Types a code before the scanner."""
        self.until("scan")
        field = self.wait(lambda d: d.find_elements(By.ID, "f-code"), "no scanner")[0]
        field.clear()
        field.send_keys(code)
        self.do("ok")

    def take_card(self):
        self.click("#sw-remove")

    def result(self):
        """Goes on to the result: takes the card out, signs on paper, prints the second copy; what the result says."""
        while True:
            view = self.until("remove_card", "sign", "tear", "result")
            if view == "result":
                found = self.driver.find_element(By.ID, "result")
                return {key: found.get_attribute(f"data-{key}") for key in ("outcome", "code", "trace", "ref", "auth")}
            if view == "sign":
                self.do("cancel")
            elif view == "tear":
                self.do("yes")
            elif self.driver.find_elements(By.ID, "sw-remove"):
                # A tapped card is in no slot: its screen goes by itself.
                self.take_card()
            self.wait(lambda _: self.view() != view, f"{view} stays")

    def done(self):
        """Back to the menu; paper is torn off."""
        self.do("ok")
        self.until("menu")
        tear = self.driver.find_elements(By.ID, "sw-tear")
        if tear:
            self.driver.execute_script("arguments[0].click()", tear[0])

    def last_slip(self):
        """The text of the newest slip."""
        script = """
            const done = arguments[arguments.length - 1];
            fetch(`/api/terminals/${state.id}`).then((answer) => answer.json()).then((now) => {
                const last = now.paper[now.paper.length - 1];
                return last ? fetch(`/api/terminals/${state.id}/paper/${last.number}.txt`).then((slip) => slip.text()) : "";
            }).then(done);
        """
        return self.driver.execute_async_script(script)

    def messages(self):
        """Types of the messages in the trace, newest first."""
        return [one.get_attribute("data-mti") for one in self.driver.find_elements(By.CSS_SELECTOR, ".msg[data-mti]")]
