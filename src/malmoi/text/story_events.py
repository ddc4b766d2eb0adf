"""More words of the built-in stories: events, that is words whose notes are whole sentences.

The same kind of table as in story_words.py; these belong to one or two plots each.
"""

from collections.abc import Sequence

from malmoi.text.story_grammar import Word
from malmoi.text.story_words import TABLES as WORDS
from malmoi.text.story_words import _noted

_EVENTS: dict[str, Sequence[Word]] = {}

# Trouble at home, and how a grateful animal and its kin end it. Followed by {요}.
_EVENTS["need"] = _noted(
    {
        "text": "큰 가뭄이 들어 우물이 말랐",
        "repay": "[바위 밑을|마당을|우물가를] 파서 맑은 샘물을 찾아 주었",
        "after": "물 걱정 없이",
    },
    {
        "text": "흉년이 들어 쌀독이 텅 비었",
        "repay": "[햅쌀을|보리쌀을|좁쌀을] 한 알 한 알 물어다 쌀독을 가득 채워 주었",
        "after": "배부르게",
    },
    {
        "text": "큰비가 와서 다리가 떠내려갔",
        "repay": "[통나무를|나뭇가지를|넓적한 돌을] 날라다 새 다리를 놓아 주었",
        "after": "마음 놓고 다리를 건너며",
    },
    {
        "text": "땔감이 떨어져 방이 얼음장 같았",
        "repay": "[장작을|솔가지를|마른 잎을] 산더미처럼 쌓아 주었",
        "after": "따뜻하게",
    },
    {
        "text": "산이 무너져 밭이 흙에 묻혔",
        "repay": "[흙을|돌을|나무를] 날라 밭을 되찾아 주었",
        "after": "마음 편히",
    },
    {
        "text": "벌레가 들끓어 밭이 다 시들었",
        "repay": "[밤새|하나도 남김없이|부지런히] 벌레를 잡아 주었",
        "after": "풍년을 누리며",
    },
    {
        "text": "세찬 바람에 지붕이 날아갔",
        "repay": "[볏짚을|갈대를|나무껍질을] 물어다 새 지붕을 이어 주었",
        "after": "비바람 걱정 없이",
    },
    {
        "text": "온 마을에 고뿔이 돌았",
        "repay": "[배를|생강을|꿀을] 구해다 집집마다 놓아 주었",
        "after": "건강하게",
    },
)

# What one may wish for, and what it does.
_EVENTS["wish"] = _noted(
    {
        "text": "하늘을 나는 신발",
        "short": "신발",
        "use": "[구름 위를|산 너머를|바다 위를] 훨훨 날아다녔",
    },
    {
        "text": "노래하는 피리",
        "short": "피리",
        "use": "[아침마다|달밤마다|들판에서] 온 동네에 고운 노래를 들려주었",
    },
    {
        "text": "마르지 않는 항아리",
        "short": "항아리",
        "use": "[시원한 물을|달콤한 꿀을|고소한 우유를] 마음껏 따라 마셨",
    },
    {
        "text": "비를 부르는 부채",
        "short": "부채",
        "use": "[목마른 꽃밭에|메마른 밭에|마른 연못에] 촉촉한 비를 내렸",
    },
    {
        "text": "살아나는 그림 붓",
        "short": "붓",
        "use": "[나비를|물고기를|꽃을] 그려 살아 움직이게 했",
    },
    {
        "text": "어둠을 밝히는 구슬",
        "short": "구슬",
        "use": "[밤길을|깊은 동굴을|캄캄한 숲을] 환하게 비추었",
    },
    {
        "text": "쌀이 나오는 맷돌",
        "short": "맷돌",
        "use": "[하얀 쌀을|고운 쌀을|햅쌀을] 술술 갈아 냈",
    },
    {
        "text": "꿈을 보여 주는 거울",
        "short": "거울",
        "use": "[먼 나라를|바닷속을|별나라를] 꿈처럼 구경했",
    },
    {
        "text": "바람을 담은 자루",
        "short": "자루",
        "use": "신나게 [연을 띄웠|돛단배를 몰았|바람개비를 돌렸]",
    },
    {
        "text": "모습을 감추는 모자",
        "short": "모자",
        "use": "[숨바꼭질마다|숲속에서|동무들 앞에서] 감쪽같이 숨었",
    },
    {
        "text": "어떤 말도 알아듣는 방울",
        "short": "방울",
        "use": "[나무의|꽃의|물고기의] 이야기까지 알아들었",
    },
    {
        "text": "금이 나오는 방망이",
        "short": "방망이",
        "use": "[뚝딱|쿵|탁] 두드려 금돈을 얻었",
    },
)

# What must be promised: as told by a spirit, as broken, as kept (the last two take {요}).
_EVENTS["promise"] = _noted(
    {
        "text": "보름달이 뜨는 밤에는 쓰지 말거라",
        "broken": "보름달이 뜬 밤에 몰래 {wish.short:을/를} 꺼내 썼",
        "kept": "보름달이 뜨는 밤이면 {wish.short:을/를} 곱게 넣어 두었",
    },
    {
        "text": "아무에게도 자랑하지 말거라",
        "broken": "동무들을 모아 놓고 {wish.short:을/를} 자랑했",
        "kept": "아무에게도 {wish.short:을/를} 자랑하지 않았",
    },
    {
        "text": "하루에 한 번만 쓰거라",
        "broken": "하루에 두 번, 세 번 {wish.short:을/를} 썼",
        "kept": "하루에 꼭 한 번만 {wish.short:을/를} 썼",
    },
    {
        "text": "결코 거짓말을 하지 말거라",
        "broken": "{wish.short:을/를} 더 갖고 싶어 거짓말을 했",
        "kept": "{wish.short:을/를} 지닌 동안 언제나 참말만 했",
    },
    {
        "text": "이웃과 나누어 쓰거라",
        "broken": "{wish.short:을/를} 혼자만 쓰고 아무에게도 빌려주지 않았",
        "kept": "{wish.short:을/를} 이웃들과 사이좋게 나누어 썼",
    },
    {
        "text": "쓰고 나면 꼭 제자리에 두거라",
        "broken": "{wish.short:을/를} 마당에 내버려 둔 채 잠이 들었",
        "kept": "{wish.short:을/를} 쓰고 나면 꼭 제자리에 두었",
    },
    {
        "text": "비 오는 날에는 쓰지 말거라",
        "broken": "심심한 나머지 비 오는 날 {wish.short:을/를} 썼",
        "kept": "비 오는 날이면 {wish.short:을/를} 꼭꼭 싸 두었",
    },
    {
        "text": "나쁜 일에는 쓰지 말거라",
        "broken": "심술이 나서 {wish.short:으로/로} 동무들을 골렸",
        "kept": "{wish.short:을/를} 좋은 일에만 썼",
    },
)

# Sudden weather, and where one ends up in it. Followed by {요}.
_EVENTS["storm"] = _noted(
    {"text": "소나기가 쏟아졌"},
    {"text": "회오리바람이 불어닥쳤"},
    {"text": "우박이 후드득 떨어졌"},
    {"text": "천둥이 우르르 쾅쾅 쳤"},
    {"text": "먹구름이 새까맣게 몰려왔"},
    {"text": "땅이 우르르 흔들렸"},
    {"text": "모래바람이 휘몰아쳤"},
    {"text": "벼락이 번쩍 떨어졌"},
    {"text": "큰물이 콸콸 밀려왔"},
    {"text": "돌개바람이 윙윙 불었"},
    {"text": "거센 바람이 몰아쳤"},
    {"text": "하늘이 컴컴해지며 번개가 번쩍였"},
)
_EVENTS["peril"] = _noted(
    {
        "text": "깊은 구덩이에 빠졌",
        "cry": "[너무 깊어|나갈 수가 없어|다리를 삐었어|아무것도 안 보여]",
        "rescue": "[칡덩굴을|긴 장대를|굵은 밧줄을|사다리를|{?color} 띠를] 내려 끌어 올렸",
    },
    {
        "text": "불어난 강물에 휩쓸렸",
        "cry": "[물이 너무 차|숨을 못 쉬겠어|떠내려가겠어|헤엄을 못 쳐]",
        "rescue": "[긴 나뭇가지를|통나무를|갈대 줄을|노를|{?color} 천을] 내밀어 건져 냈",
    },
    {
        "text": "벼랑 끝에 매달렸",
        "cry": "[떨어질 것 같아|팔에 힘이 없어|아래를 못 보겠어|손이 미끄러져]",
        "rescue": "[두 팔로|온 힘을 다해|이를 악물고|땅에 엎드려|{?color} 줄로] 붙잡아 올려 주었",
    },
    {
        "text": "질퍽한 늪에 빠졌",
        "cry": "[자꾸 가라앉아|발이 안 빠져|움직일 수가 없어|허리까지 잠겼어]",
        "rescue": "[널빤지를|돗자리를|문짝을|볏짚을|멍석을] 깔고 기어가 끌어냈",
    },
    {
        "text": "쓰러진 나무에 깔렸",
        "cry": "[꼼짝할 수 없어|너무 무거워|꼬리가 끼었어|숨이 막혀]",
        "rescue": "[지렛대로|끙끙대며|어깨로|두 손으로|돌을 받쳐] 나무를 들어 올려 꺼내 주었",
    },
    {
        "text": "가시덤불 속으로 굴러떨어졌",
        "cry": "[가시에 찔렸어|온몸이 따가워|움직이면 더 아파|피가 나]",
        "rescue": "[가시를 헤치고|덤불을 걷어 내고|가지를 꺾으며|몸을 낮추고] 들어가 꺼내 주었",
    },
)

# Lies of a trickster that send the other away from the food.
_EVENTS["lie"] = _noted(
    {"text": "저기 호랑이가 온다"},
    {"text": "너희 집에 불이 났대"},
    {"text": "강가에서 큰 잔치가 열렸대"},
    {"text": "뒷산에서 보물이 나왔대"},
    {"text": "네 동생이 널 찾으며 울더라"},
    {"text": "저기 사냥꾼이 온다"},
    {"text": "언덕에 무지개가 일곱 개나 떴대"},
    {"text": "너희 밭에 들쥐 떼가 들어갔대"},
    {"text": "장터에서 떡을 거저 준대"},
    {"text": "네 지붕이 바람에 날아갔대"},
    {"text": "하늘에서 별이 떨어졌대"},
    {"text": "고개 너머에 광대가 왔대"},
    {"text": "너희 할머니께서 부르셔"},
    {"text": "연못에 용이 나타났대"},
    {"text": "임금님께서 널 찾으신대"},
    {"text": "네 굴뚝에서 연기가 펑펑 나"},
)

# What two animals boast of to each other.
_EVENTS["boast"] = _noted(
    {"text": "누가 더 빠른지"},
    {"text": "누가 더 힘이 센지"},
    {"text": "누가 더 노래를 잘하는지"},
    {"text": "누가 더 높이 뛰는지"},
    {"text": "누가 더 똑똑한지"},
    {"text": "누가 더 멋진지"},
    {"text": "누가 더 많이 먹는지"},
    {"text": "누가 더 용감한지"},
    {"text": "누가 더 부지런한지"},
    {"text": "누가 더 춤을 잘 추는지"},
    {"text": "누가 더 키가 큰지"},
    {"text": "누가 더 착한지"},
    {"text": "누가 더 일찍 일어나는지"},
    {"text": "누가 더 동무가 많은지"},
    {"text": "누가 더 오래 참는지"},
    {"text": "누가 더 멀리 보는지"},
)

# A king's prize, and what a good heart does with it.
_EVENTS["prize"] = _noted(
    {"text": "금덩이 한 자루", "share": "마을에 [튼튼한 다리를|돌다리를|무지개다리를] 놓았"},
    {"text": "비단 백 필", "share": "[이웃들의|아이들의|어르신들의] 고운 옷을 지었"},
    {"text": "기와집 한 채", "share": "[갈 곳 없는 아이들을|나그네들을|외로운 이웃을] 맞아들였"},
    {"text": "쌀 백 섬", "share": "[배고픈 이들의|온 마을의|가난한 집집의] 밥을 지었"},
    {"text": "논 열 마지기", "share": "[이웃들과|동무들과|온 마을과] 함께 농사를 지었"},
    {"text": "황소 세 마리", "share": "[이웃의|온 마을의|힘든 이들의] 밭을 갈아 주었"},
    {"text": "은돈 한 상자", "share": "마을에 [작은 서당을|놀이터를|의원을] 세웠"},
    {"text": "커다란 배 한 척", "share": "[섬 아이들을|장꾼들을|어부들을] 실어 날랐"},
)

# A humble gift, why it is the best, and how it came about.
_EVENTS["humble"] = _noted(
    {
        "text": "꽃씨 한 줌",
        "why": "이 씨를 심으면 온 나라에 [꽃이 핍니다|봄이 옵니다|향기가 가득합니다]",
    },
    {
        "text": "맑은 물 한 그릇",
        "why": "[깊은 산 샘에서|새벽 우물에서|바위틈에서] 밤새 정성껏 받은 물입니다",
    },
    {
        "text": "손수 짠 목도리",
        "why": "추운 날 [따뜻하시라고|감기 드시지 말라고|포근하시라고] 한 코 한 코 떴습니다",
    },
    {
        "text": "백성들의 편지",
        "why": "온 마을이 [고마운 마음을|사랑하는 마음을|바라는 것을] 적어 담았습니다",
    },
    {
        "text": "작은 나무 한 그루",
        "why": "백 년 뒤 아이들이 [그늘에서 쉴|열매를 딸|그네를 맬] 나무입니다",
    },
    {
        "text": "따뜻한 주먹밥",
        "why": "[하나뿐인 쌀로|어머니와 함께|잠을 아껴] 정성껏 지은 밥입니다",
    },
    {
        "text": "짧은 노래 한 가락",
        "why": "[들으면 웃음이 나는|백성들이 함께 지은|할머니께 배운] 노래입니다",
    },
    {
        "text": "낡은 등불 하나",
        "why": "[길 잃은 이를|밤길 걷는 이를|캄캄한 마을을] 지켜 주던 등불입니다",
    },
)

TABLES: dict[str, Sequence[Word]] = {**WORDS, **_EVENTS}
