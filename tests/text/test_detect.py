"""Sentences in two dozen languages, written for this test, in the encodings they come in."""

import codecs
import json
import random
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malmoi.text.detect import Guess, detect, guess
from malmoi.text.plausible import ANY, ASCII, log_probabilities

DATA = Path(__file__).parents[3] / "shared" / "data"
SENTENCES = {
    "ko": """
어제 저녁에 할머니 댁에 다녀왔습니다.
마당에는 감나무가 두 그루 서 있었어요.
동생은 벌써 잠이 들어서 조용히 문을 닫았다.
비가 그치면 뒷산에 올라가 보자고 했다.
그 책은 도서관 삼 층에 꽂혀 있을 것이다.
아침마다 우유를 배달하던 아저씨가 보이지 않는다.
서울에서 부산까지는 기차로 세 시간쯤 걸린다.
값이 너무 비싸서 사지 못하고 돌아왔다.
무엇을 좋아하느냐고 물으면 대답하기가 어렵다.
꽃이 피고 새가 우는 봄이 다시 왔네.
""",
    "ja": """
昨日の夜、祖母の家に行きました。
庭には柿の木が二本立っていた。
弟はもう寝ていたので、静かにドアを閉めた。
雨が止んだら裏の山に登ってみよう。
その本は図書館の三階にあるはずです。
毎朝牛乳を配達していたおじさんが見えない。
東京から大阪までは電車で三時間くらいかかる。
値段が高すぎて、買わずに帰ってきました。
何が好きかと聞かれると答えるのが難しい。
レストランでコーヒーとケーキを注文した。
""",
    "zh": """
昨天晚上我去了奶奶家。
院子里有两棵柿子树。
弟弟已经睡着了，所以我轻轻地关上了门。
雨停了以后，我们去爬后面的山吧。
那本书应该在图书馆的三楼。
每天早上送牛奶的叔叔今天没有来。
从北京到上海坐火车大约需要五个小时。
价钱太贵了，没买就回来了。
如果有人问我喜欢什么，我很难回答。
春天又来了，花开了，鸟也在叫。
""",
    "zh-hant": """
昨天晚上我去了奶奶家。
院子裡有兩棵柿子樹。
弟弟已經睡著了，所以我輕輕地關上了門。
雨停了以後，我們去爬後面的山吧。
那本書應該在圖書館的三樓。
每天早上送牛奶的叔叔今天沒有來。
從臺北到高雄坐火車大約需要五個小時。
價錢太貴了，沒買就回來了。
如果有人問我喜歡什麼，我很難回答。
春天又來了，花開了，鳥也在叫。
""",
    "de": """
Gestern Abend waren wir bei der Großmutter.
Im Hof standen zwei alte Apfelbäume.
Der Bruder schlief schon, also schloss ich leise die Tür.
Wenn der Regen aufhört, gehen wir über den Hügel.
Das Buch müsste im dritten Stock der Bücherei stehen.
Jeden Morgen fährt der Milchmann an unserem Haus vorbei.
Von Köln bis München braucht der Zug fünf Stunden.
Es war zu teuer, darum kamen wir ohne Schlüssel zurück.
Was mir gefällt, lässt sich schwer erklären.
Die Vögel singen, und die Sträucher blühen schon.
""",
    "fr": """
Hier soir, nous sommes allés chez la grand-mère.
Dans la cour se dressaient deux vieux pommiers abîmés.
Mon frère dormait déjà, j'ai donc fermé la porte.
Quand la pluie aura cessé, nous monterons sur la colline là-bas.
Ce livre doit être au troisième étage de la bibliothèque.
Le laitier passait chaque matin près de notre maison.
Il faut cinq heures de Nîmes à Orléans par le train.
C'était trop cher et nous sommes rentrés sans rien acheter, hélas.
On me demande ce que je préfère, et je ne sais répondre.
Le printemps est arrivé : les oiseaux chantent à la fenêtre.
""",
    "es": """
Ayer por la tarde fuimos a casa de mi abuela, allá en el pueblo.
En el patio había dos manzanos muy viejos.
Mi hermano ya dormía, así que cerré la puerta.
Cuando deje de llover subiremos a la montaña.
Ese libro debe de estar en el tercer piso, señor.
Cada mañana el lechero pasaba por delante de casa.
El tren tarda cinco horas en llegar a Málaga.
Era demasiado caro y volvimos sin comprar ningún recuerdo.
Si me preguntan qué me gusta, no sé qué contestar.
Llegó la primavera y los pájaros cantan en el jardín.
""",
    "sv": """
I går kväll hälsade vi på hos mormor.
På gården stod två gamla äppelträd.
Min bror sov redan, så jag stängde dörren tyst.
När det slutar regna går vi upp på berget.
Boken bör stå på tredje våningen i biblioteket.
Mjölkbilen åkte förbi huset varje morgon.
Tåget från Malmö tar fem timmar.
Det var för dyrt, så vi köpte ingenting.
Vad jag tycker om är svårt att förklara.
Våren är här och fåglarna sjunger på ängen.
""",
    "pl": """
Wczoraj wieczorem byliśmy u babci na wsi.
Na podwórku rosły dwie stare jabłonie.
Brat już spał, więc cicho zamknąłem drzwi.
Gdy przestanie padać, pójdziemy na wzgórze.
Ta książka powinna stać na trzecim piętrze biblioteki.
Co rano mleczarz przejeżdżał obok naszego domu.
Pociąg z Gdańska do Łodzi jedzie pięć godzin.
Było za drogo, więc wróciliśmy z pustymi rękami.
Trudno powiedzieć, co najbardziej lubię robić wieczorami, może śpiewać.
Przyszła wiosna i ptaki śpiewają w ogrodzie.
""",
    "cs": """
Včera večer jsme byli u babičky.
Na dvoře stály dvě staré jabloně.
Bratr už spal, a tak jsem tiše zavřel dveře.
Až přestane pršet, půjdeme na kopec.
Ta kniha by měla být ve třetím patře knihovny.
Každé ráno jezdil mlékař kolem našeho domu.
Vlak z Plzně do Ostravy jede pět hodin.
Bylo to příliš drahé, takže jsme nic nekoupili.
Těžko říct, co mám nejraději.
Přišlo jaro a ptáci zpívají v zahradě.
""",
    "hu": """
Tegnap este a nagymamánál voltunk.
Az udvaron két öreg almafa állt.
Az öcsém már aludt, ezért halkan becsuktam az ajtót.
Ha eláll az eső, felmegyünk a dombra.
Annak a könyvnek a harmadik emeleten kell lennie.
A tejesember minden reggel elment a házunk előtt.
A vonat Győrből öt óra alatt ér oda.
Túl drága volt, így üres kézzel jöttünk haza.
Nehéz megmondani, mit szeretek a legjobban, talán a sütőtököt.
Itt a tavasz, és madarak énekelnek a kertben.
""",
    "ro": """
Aseară am fost la bunica, într-un sat mic.
În curte erau doi meri bătrâni.
Fratele meu dormea deja, aşa că am închis uşa încet.
Când se opreşte ploaia, urcăm pe deal împreună.
Cartea aceea ar trebui să fie la etajul al treilea.
În fiecare dimineaţă lăptarul trecea pe lângă casă.
Trenul de la Iaşi face cinci ore până acolo.
Era prea scump şi ne-am întors fără să cumpărăm nimic.
E greu de spus ce îmi place mai mult.
A venit primăvara şi păsările cântă în grădină.
""",
    "ru": """
Вчера вечером мы ездили к бабушке.
Во дворе стояли две старые яблони.
Брат уже спал, поэтому я тихо закрыл дверь.
Когда кончится дождь, поднимемся на холм.
Эта книга должна стоять на третьем этаже библиотеки.
Каждое утро молочник проезжал мимо нашего дома.
Поезд от Москвы до Казани идёт двенадцать часов.
Было слишком дорого, и мы вернулись ни с чем.
Трудно сказать, что мне нравится больше всего.
Пришла весна, и в саду запели птицы.
""",
    "uk": """
Учора ввечері ми їздили до бабусі.
На подвір'ї стояли дві старі яблуні.
Брат уже спав, тому я тихо зачинив двері.
Коли скінчиться дощ, підемо на пагорб.
Ця книжка має стояти на третьому поверсі бібліотеки.
Щоранку молочар проїжджав повз наш будинок.
Поїзд від Києва до Львова їде шість годин.
Було надто дорого, і ми повернулися ні з чим.
Важко сказати, що мені подобається найбільше.
Прийшла весна, і в саду заспівали птахи.
""",
    "bg": """
Снощи бяхме на гости при баба.
В двора растяха две стари ябълки.
Брат ми вече спеше, затова тихо затворих вратата.
Като спре дъждът, ще се качим на хълма.
Тази книга трябва да е на третия етаж в библиотеката.
Всяка сутрин млекарят минаваше покрай къщата.
Влакът от София до Варна пътува седем часа.
Беше твърде скъпо и се върнахме без нищо.
Трудно ми е да кажа какво обичам най-много.
Дойде пролетта и птиците пеят в градината.
""",
    "el": """
Χθες το βράδυ πήγαμε στη γιαγιά.
Στην αυλή υπήρχαν δύο γέρικες μηλιές.
Ο αδελφός μου κοιμόταν ήδη, γι' αυτό έκλεισα σιγά την πόρτα.
Όταν σταματήσει η βροχή, θα ανεβούμε στον λόφο.
Το βιβλίο πρέπει να είναι στον τρίτο όροφο.
Κάθε πρωί ο γαλατάς περνούσε μπροστά από το σπίτι.
Το τρένο για τη Θεσσαλονίκη κάνει πέντε ώρες.
Ήταν πολύ ακριβό και γυρίσαμε με άδεια χέρια.
Είναι δύσκολο να πω τι μου αρέσει πιο πολύ.
Ήρθε η άνοιξη και τα πουλιά τραγουδούν στον κήπο.
""",
    "tr": """
Dün akşam büyükannemin evine gittik.
Avluda iki yaşlı elma ağacı vardı.
Kardeşim çoktan uyumuştu, kapıyı yavaşça kapattım.
Yağmur dinince tepeye çıkalım dedik.
O kitap kütüphanenin üçüncü katında olmalı.
Her sabah sütçü evimizin önünden geçerdi.
İzmir'den Eskişehir'e tren altı saat sürüyor.
Çok pahalıydı, hiçbir şey almadan döndük.
En çok neyi sevdiğimi söylemek zor, belki kışı.
Bahar geldi, bahçede kuşlar ötüyor.
""",
    "lt": """
Vakar vakare buvome pas močiutę.
Kieme augo dvi senos obelys, šalia jų šulinys.
Brolis jau miegojo, todėl tyliai uždariau duris.
Kai nustos lyti, užkopsime ant kalvos.
Ta knyga turėtų būti trečiame bibliotekos aukšte.
Kas rytą pienininkas važiuodavo pro mūsų namą.
Traukinys iš Klaipėdos važiuoja keturias valandas.
Buvo per brangu, todėl grįžome tuščiomis rankomis.
Sunku pasakyti, ką labiausiai mėgstu.
Atėjo pavasaris, ir sode čiulba paukščiai.
""",
    "lv": """
Vakar vakarā mēs bijām pie vecmāmiņas.
Pagalmā auga divas vecas ābeles.
Brālis jau gulēja, tāpēc klusi aizvēru durvis.
Kad pārstās līt, kāpsim kalnā.
Tai grāmatai jābūt bibliotēkas trešajā stāvā.
Katru rītu piena vedējs brauca garām mūsu mājai.
Vilciens no Liepājas brauc trīs stundas.
Tas bija pārāk dārgi, un mēs atgriezāmies tukšām rokām.
Grūti pateikt, kas man patīk vislabāk.
Atnācis pavasaris, un dārzā dzied putni.
""",
    "vi": """
Tối hôm qua chúng tôi về thăm bà ngoại.
Ngoài sân có hai cây hồng đã già.
Em trai tôi ngủ rồi nên tôi khép cửa thật khẽ.
Khi nào tạnh mưa chúng ta sẽ leo lên đồi.
Quyển sách ấy chắc ở tầng ba của thư viện.
Sáng nào người bán sữa cũng đi ngang qua nhà.
Đi tàu từ Huế ra Hà Nội mất mười ba tiếng.
Đắt quá nên chúng tôi về tay không.
Thật khó nói tôi thích điều gì nhất.
Mùa xuân đã đến, chim hót trong vườn.
""",
    "he": """
אתמול בערב נסענו לסבתא.
בחצר עמדו שני עצי תפוח זקנים.
אחי כבר ישן ולכן סגרתי את הדלת בשקט.
כשייפסק הגשם נעלה על הגבעה.
הספר הזה צריך להיות בקומה השלישית.
בכל בוקר עבר החלבן ליד הבית שלנו.
הרכבת מחיפה לירושלים נוסעת שעתיים.
זה היה יקר מדי וחזרנו בידיים ריקות.
קשה לי לומר מה אני אוהב יותר מכול.
האביב הגיע והציפורים שרות בגן.
""",
    "ar": """
ذهبنا مساء أمس إلى بيت جدتي.
كانت في الفناء شجرتان قديمتان.
كان أخي نائما فأغلقت الباب بهدوء.
عندما يتوقف المطر سنصعد إلى التل.
يجب أن يكون الكتاب في الطابق الثالث من المكتبة.
كان بائع الحليب يمر أمام بيتنا كل صباح.
يستغرق القطار من القاهرة خمس ساعات.
كان السعر مرتفعا جدا فعدنا دون أن نشتري شيئا.
من الصعب أن أقول ما الذي أحبه أكثر.
جاء الربيع وغنت العصافير في الحديقة.
""",
    "th": """
เมื่อวานตอนเย็นเราไปบ้านคุณยาย
ในสวนมีต้นมะม่วงเก่าอยู่สองต้น
น้องชายหลับไปแล้ว ฉันจึงปิดประตูเบาๆ
พอฝนหยุดเราจะเดินขึ้นเขากัน
หนังสือเล่มนั้นน่าจะอยู่ชั้นสามของห้องสมุด
ทุกเช้าคนส่งนมจะผ่านหน้าบ้านของเรา
รถไฟไปเชียงใหม่ใช้เวลาสิบสองชั่วโมง
ราคาแพงเกินไป เราเลยกลับมือเปล่า
บอกยากว่าฉันชอบอะไรมากที่สุด
ฤดูร้อนมาถึงแล้ว นกร้องอยู่ในสวน
""",
}

SENTENCES = {language: text.strip() for language, text in SENTENCES.items()}
CODECS = {
    "ko": ["cp949", "euc-kr", "johab", "iso2022_kr"],
    "ja": ["shift_jis", "cp932", "euc_jp", "iso2022_jp"],
    "zh": ["gb18030", "gbk", "gb2312"],
    "zh-hant": ["big5", "cp950", "big5hkscs"],
    "ru": ["cp1251", "koi8-r", "cp866", "iso8859-5"],
    "uk": ["cp1251", "koi8-u"],
    "bg": ["cp1251"],
    "el": ["cp1253", "iso8859-7"],
    "tr": ["cp1254"],
    "vi": ["cp1258"],
    "he": ["cp1255"],
    "ar": ["cp1256"],
    "th": ["cp874"],
}
CODECS |= {language: ["cp1252"] for language in ("de", "fr", "es", "sv")}
CODECS |= {language: ["cp1250", "iso8859-2"] for language in ("pl", "cs", "hu", "ro")}
CODECS |= {language: ["cp1257"] for language in ("lt", "lv")}
PAIRS = [(language, codec) for language, names in CODECS.items() for codec in names]
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


def encoded(text: str, codec: str) -> bytes:
    """Vietnamese has its tones apart in CP1258: ế is ê and an acute accent there."""
    if codec != "cp1258":
        return text.encode(codec)
    data = b""
    for char in text:
        try:
            data += char.encode(codec)
        except UnicodeEncodeError:
            letter, *marks = unicodedata.normalize("NFD", char)
            tone = next(mark for mark in marks if mark in "\u0300\u0301\u0303\u0309\u0323")
            base = unicodedata.normalize("NFC", letter + "".join(m for m in marks if m != tone))
            data += base.encode(codec) + tone.encode(codec)
    return data


def reads_as(data: bytes, codec: str) -> str:
    return unicodedata.normalize("NFC", data.decode(codec))


def found(text: str, codec: str) -> bool:
    """Whether the text in this encoding is read right, whatever the codec is called."""
    data = encoded(text, codec)
    try:
        return reads_as(data, detect(data, complete=True)) == unicodedata.normalize("NFC", text)
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize(("language", "codec"), PAIRS)
def test_ten_lines_and_two(language: str, codec: str) -> None:
    assert found(SENTENCES[language], codec)
    assert found(SENTENCES[language] + "\n", codec)
    lines = SENTENCES[language].split("\n")
    short = ["\n".join(two) for two in pairwise(lines)]
    assert sum(found(text, codec) for text in short) >= len(short) - 1


@pytest.mark.parametrize("codec", WIDE)
@pytest.mark.parametrize("language", SENTENCES)
def test_unicode_without_a_mark(language: str, codec: str) -> None:
    text = SENTENCES[language]
    assert detect(text.encode(codec), complete=True) == codec
    for line in text.split("\n")[:3]:
        assert detect(f"{line}\n".encode(codec), complete=True) == codec
    for cut in range(1, 8):  # in the middle of a character, or of a pair of bytes
        assert detect(text.encode(codec)[:-cut], complete=False) == codec


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(codec: str) -> None:
    for text in SENTENCES["ko"], "abc", "":
        assert guess(text.encode(codec), complete=True) == Guess(codec, 1.0)
    assert detect(codecs.BOM_UTF16_BE + b"\0a", complete=True) == "utf-16"
    assert detect(codecs.BOM_UTF32_BE + b"\0\0\0a", complete=True) == "utf-32"


@pytest.mark.parametrize("language", SENTENCES)
def test_utf8_is_what_decodes_as_utf8(language: str) -> None:
    data = SENTENCES[language].encode()
    assert guess(data, complete=True) == Guess("utf-8", 1.0)
    for end in range(40, 60):
        assert guess(data[:end], complete=False) == Guess("utf-8", 1.0)


def test_a_few_bytes_that_happen_to_be_utf8() -> None:
    assert "호호".encode("cp949").decode("utf-8") == "ȣȣ"
    assert detect("호호".encode("cp949"), complete=True) == "cp949"
    for text in "é", "café", "да", "ναι", "שלום", "größer":
        assert detect(text.encode(), complete=True) == "utf-8"


@pytest.mark.parametrize(("language", "codec"), [p for p in PAIRS if p[0] in ("ko", "ja", "zh")])
def test_cut_in_the_middle_of_a_character(language: str, codec: str) -> None:
    data = encoded(SENTENCES[language], codec)
    whole = detect(data, complete=True)
    for end in range(100, 110):
        assert detect(data[:end], complete=False) == whole


def test_larger_codecs_stand_for_their_parts() -> None:
    for part, whole in {
        "euc-kr": "cp949", "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030",
        "big5": "cp950",
    }.items():  # fmt: skip
        language = next(name for name, codec in PAIRS if codec == part)
        assert detect(SENTENCES[language].encode(part), complete=True) == whole


def test_beyond_the_sample_what_decodes_decides() -> None:
    """The first kilobytes read alike in both; a letter at the end has only one of them."""
    german = SENTENCES["de"] * 30
    data = german.encode("cp1252") + b"\x80 5, \x9c\n"
    assert detect(data, complete=True) == "cp1252"
    plain, extended = "가나다라" * 3000, "똠방각하"
    assert detect((plain + extended).encode("cp949"), complete=True) == "cp949"
    russian = SENTENCES["ru"].encode("koi8-r")
    ukrainian = SENTENCES["uk"].encode("koi8-u")
    assert detect(russian, complete=True) == "koi8-r"
    assert detect(ukrainian, complete=True) == "koi8-u"


def test_colours_of_a_terminal_are_no_korean() -> None:
    assert detect(b"\x1b[31mred\x1b[0m \x1b$ \x0e", complete=True) == "utf-8"


def test_some_damage_and_some_foreign_lines_mislead_nobody() -> None:
    lines = SENTENCES["ko"].split("\n")
    damaged = "\n".join(lines).encode("cp949").replace(b" ", b" \xff", 3)
    assert detect(damaged, complete=True) == "cp949"
    damaged = "\n".join(lines).encode().replace(b" ", b" \xff", 3)
    assert detect(damaged, complete=True) == "utf-8"
    mixed = b"\n".join(
        line.encode("utf-8" if n % 4 == 3 else "cp949") for n, line in enumerate(lines)
    )
    assert detect(mixed, complete=True) == "cp949"
    mixed = b"\n".join(
        line.encode("cp949" if n % 4 == 3 else "utf-8") for n, line in enumerate(lines)
    )
    assert detect(mixed, complete=True) == "utf-8"


def test_a_repeated_line_proves_no_more_than_once() -> None:
    once, often = (guess("감\n".encode("cp949") * n, complete=True) for n in (1, 500))
    assert once.confidence == pytest.approx(often.confidence, abs=0.05)
    assert often.confidence < 0.95


def test_confidence_is_how_often_it_is_right() -> None:
    """Of single lines said to be p sure, about p of them are right."""
    said, right = [], []
    for language, codec in PAIRS:
        for line in SENTENCES[language].split("\n"):
            for text in (line, *line.split(" ")[:2]):
                data = encoded(text, codec)
                if data.isascii():
                    continue
                answer = guess(data, complete=True)
                assert 0 <= answer.confidence <= 1
                assert answer.runner_up != answer.codec
                said.append(answer.confidence)
                right.append(found(text, codec))
    pairs = sorted(zip(said, right, strict=True))
    for part in (pairs[:250], pairs[250:500]):
        assert sum(ok for _, ok in part) / len(part) == pytest.approx(
            sum(p for p, _ in part) / len(part), abs=0.15
        )
    sure = [ok for p, ok in pairs if p > 0.99]
    assert len(sure) > 200
    assert sum(sure) >= 0.99 * len(sure)


def test_the_runner_up_reads_otherwise() -> None:
    data = "문".encode("johab")
    answer = guess(data, complete=True)
    assert answer.confidence < 0.9
    assert answer.runner_up is not None
    assert data.decode(answer.codec, "replace") != data.decode(answer.runner_up, "replace")
    assert guess(SENTENCES["ko"].encode("cp949"), complete=True).runner_up is None


def test_the_last_resort_knows_other_pages() -> None:
    answer = guess(SENTENCES["el"].encode("cp737"), complete=True)
    assert answer.codec == "cp737"
    assert answer.confidence == 0.5


def test_a_line_without_a_place_to_cut() -> None:
    for text, codec in ("漢字仮名交文" * 5000, "euc_jp"), ("가나다라마바사" * 5000, "cp949"):
        assert detect(text.encode(codec), complete=True) == codec
    assert detect(b"a" * 50_000 + "더불어".encode("cp949"), complete=True) == "cp949"


@pytest.mark.parametrize("data", [b"", b" ", b"abc", b"\n\n", b"\t\x1b", b"~{"])
def test_ascii(data: bytes) -> None:
    assert guess(data, complete=True) == Guess("utf-8", 1.0)


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=20).map(lambda b: b * 40)))
def test_any_bytes_give_an_answer_or_a_value_error(data: bytes) -> None:
    for complete in (True, False):
        try:
            answer = guess(data, complete=complete)
        except UnicodeError as error:  # is a ValueError, but not for users
            raise AssertionError from error
        except ValueError:
            continue
        assert codecs.lookup(answer.codec)
        assert 0 <= answer.confidence <= 1


def test_no_answer_is_one_line() -> None:
    noise = random.Random(2).randbytes(3000).replace(b"\0", b"\x81")
    with pytest.raises(ValueError, match="--encoding") as caught:
        guess(noise, complete=True)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


def test_python_has_files_in_many_encodings() -> None:
    """Those that its own codecs are tested with; each has a twin in UTF-8."""
    test = pytest.importorskip("test", reason="this Python came without its tests")
    folder = Path(test.__file__).parent / "cjkencodings"
    if not folder.is_dir():
        pytest.skip("this Python came without its cjkencodings")
    for name in ("cp949", "johab", "iso2022_kr", "shift_jis", "euc_jp", "iso2022_jp", "gb2312",
                 "gbk", "gb18030", "big5"):  # fmt: skip
        data = (folder / f"{name}.txt").read_bytes()
        text = (folder / f"{name}-utf8.txt").read_bytes().decode()
        assert data.decode(detect(data, complete=True), "replace") == text, name


@pytest.mark.parametrize("codec", ["cp949", "johab", "utf-16-le"])
def test_documents_in_korean(codec: str) -> None:
    path = DATA / "python_docs_ko.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with path.open(encoding="utf-8") as file:
        texts = [json.loads(line)["document"] for _, line in zip(range(60), file, strict=False)]
    lines = [line for text in texts for line in text.split("\n") if not line.isascii()]
    picked = random.Random(1).sample(lines, 400)
    short = ["\n".join(picked[at : at + 2]) for at in range(0, len(picked), 2)]
    short = [text.encode(codec, "ignore").decode(codec) for text in short]
    assert sum(found(text, codec) for text in short) >= len(short) - 1


def test_what_is_ascii_counts_alike_in_all_languages() -> None:
    text = "Plain words, 12 of them."
    for languages in (["ko", "zh", "ja", ANY], ["de", "pl", "ru", "he"]):
        assert log_probabilities(text, languages) == [pytest.approx(ASCII * len(text))] * 4


def test_signs_are_judged_one_by_one_and_the_frequent_ones_have_their_share() -> None:
    both = log_probabilities("가을하늘", ["ko"])[0]
    assert both == pytest.approx(sum(log_probabilities(c, ["ko"])[0] for c in "가을하늘"))
    syllables = [chr(code) for code in range(0xAC00, 0xD7A4)]
    frequent = [s for s in syllables if len(s.encode("euc_kr", "ignore")) == 2]
    assert len(frequent) == 2350  # of KS X 1001
    nats = {s: log_probabilities(s, ["ko"])[0] for s in syllables}
    assert max(nats, key=nats.__getitem__) == "이"
    assert min(nats[s] for s in frequent) > nats["뷁"]


def test_letters_in_the_wrong_places_are_improbable() -> None:
    right, wrong = "Größere Städte", "Grцќere Stдdte"
    assert log_probabilities(right, ["de"])[0] > log_probabilities(wrong, ["ru"])[0] + 20
    for a, b in ("déjà", "dejá"), ("été", "tÉé"), ("être", "etêr"):
        assert log_probabilities(a, ["fr"])[0] > log_probabilities(b, ["fr"])[0]
